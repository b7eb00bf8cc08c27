package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
	"github.com/spf13/pflag"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/ordered"
)

// configFile is what a file says about flags, not checked yet: TOML, each key the name of a flag without its dashes.
type configFile struct {
	path     string
	settings []setting // in the file's order
}

// setting is one key of a file: its value is as TOML has it.
type setting struct {
	key   string
	line  int
	value any
}

// readConfigFile reads the file at path.
func readConfigFile(path string) (configFile, error) {
	c := configFile{path: path}
	text, err := os.ReadFile(path)
	if err != nil {
		return c, bridged.Errorf(bridged.ErrInvalid, "cannot read the configuration: %w", err)
	}
	var values map[string]any
	if err := toml.Unmarshal(text, &values); err != nil {
		return c, c.notTOML(err)
	}
	lines, err := keyLines(text)
	if err != nil {
		return c, c.notTOML(err)
	}
	for key, value := range values {
		c.settings = append(c.settings, setting{key, lines[key], value})
	}
	ordered.Sort(c.settings, func(a, b setting) int { return cmp.Compare(a.line, b.line) })
	return c, nil
}

// notTOML names the place where a file is no TOML.
func (c configFile) notTOML(err error) error {
	where := c.path
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		line, column := decode.Position()
		where = fmt.Sprintf("%s:%d:%d", c.path, line, column)
	}
	return bridged.Errorf(bridged.ErrInvalid, "%s: cannot be read as TOML, a line KEY = VALUE each: %w", where, err)
}

// keyLines are the numbers of the lines on which the outermost keys of a document are first. Only the parser below Unmarshal tells.
func keyLines(text []byte) (map[string]int, error) {
	lines := make(map[string]int)
	var p unstable.Parser
	for p.Reset(text); p.NextExpression(); {
		key := p.Expression().Key()
		if !key.Next() {
			continue
		}
		if name := string(key.Node().Data); lines[name] == 0 {
			lines[name] = p.Shape(key.Node().Raw).Start.Line
		}
	}
	return lines, p.Error()
}

// otherName are flags that are two names of the same.
func otherName(key string) string {
	return map[string]string{"iptables": "firewall", "firewall": "iptables"}[key]
}

// applyTo sets the flags that the file has and the command line has not. An empty text is the flag's default. The error has a line for
// each setting that can't be.
func (c *configFile) applyTo(flags *pflag.FlagSet) error {
	var errs []error
	applied := c.settings[:0]
	given := func(name string) bool { f := flags.Lookup(name); return f != nil && f.Changed }
	wins := make(map[string]bool) // on the command line
	for _, s := range c.settings {
		wins[s.key] = given(s.key) || given(otherName(s.key))
	}
	for _, s := range c.settings {
		texts, err := s.check(flags.Lookup(s.key))
		if err == nil && wins[s.key] {
			continue
		}
		for _, text := range texts {
			if err = flags.Set(s.key, text); err != nil {
				err = s.refused(text, err)
				break
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s:%d: %w", c.path, s.line, err))
		}
		applied = append(applied, s)
	}
	c.settings = applied
	if len(errs) > 0 {
		return bridged.Errorf(bridged.ErrInvalid, "%w", errors.Join(errs...))
	}
	return nil
}

// refused is the error of a value that the flag does not take, in the file's words.
func (s setting) refused(text string, err error) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		err = invalid.Unwrap()
	}
	return fmt.Errorf("%s = %q: %w", s.key, text, err)
}

// check is the setting as texts for its flag: none for the default, several for a flag that can be given several times.
func (s setting) check(f *pflag.Flag) ([]string, error) {
	if f == nil || notInFile(f.Name) {
		return nil, fmt.Errorf("unknown key %q: the keys are the flags of `bridged daemon`, without the dashes", s.key)
	}
	if s.value == "" {
		return nil, nil
	}
	_, list := f.Value.(interface{ repeatable() })
	switch v := s.value.(type) {
	case bool:
		if f.Value.Type() == "bool" {
			return []string{strconv.FormatBool(v)}, nil
		}
	case string:
		if f.Value.Type() != "bool" && !list {
			return []string{v}, nil
		}
	case int64:
		if f.Name == "mtu" {
			return []string{strconv.FormatInt(v, 10)}, nil
		}
	case []any:
		if texts, ok := allTexts(v); ok && list {
			return texts, nil
		}
	}
	want := `a text, as in "…"`
	switch {
	case f.Name == "mtu":
		want = "a number"
	case f.Value.Type() == "bool":
		want = "true or false"
	case list:
		want = `a list of texts, as in ["…", "…"]`
	}
	return nil, fmt.Errorf("%s = %s: want %s", s.key, s.print(), want)
}

// notInFile are flags that say where to look, for the file itself or for a daemon, and no more about how this one is.
func notInFile(name string) bool { return name == "config" || name == "host" || name == "help" }

func allTexts(list []any) (texts []string, ok bool) {
	for _, v := range list {
		text, ok := v.(string)
		if !ok {
			return nil, false
		}
		texts = append(texts, text)
	}
	return texts, true
}

// print is the value much as it stands in the file.
func (s setting) print() string {
	text, err := toml.Marshal(map[string]any{"v": s.value})
	if _, value, ok := strings.Cut(strings.TrimSpace(string(text)), " = "); err == nil && ok {
		return value
	}
	return fmt.Sprint(s.value)
}

// from says behind an error about flags which of them are the file's.
func (c configFile) from(err error, flags *pflag.FlagSet) error {
	if err == nil {
		return nil
	}
	words := strings.FieldsFunc(err.Error(), func(r rune) bool { return strings.ContainsRune(" =:,.", r) })
	var places []string
	for _, s := range c.settings {
		f := flags.Lookup(s.key)
		if slices.Contains(words, "--"+f.Name) || f.Shorthand != "" && slices.Contains(words, "-"+f.Shorthand) {
			places = append(places, fmt.Sprintf("%s = %s is in %s:%d", s.key, s.print(), c.path, s.line))
		}
	}
	if places == nil {
		return err
	}
	return bridged.Errorf(bridged.ErrInvalid, "%w (%s)", err, strings.Join(places, ", "))
}
