package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
	"github.com/spf13/pflag"

	"github.com/bridged/bridged"
)

// configFile is what a file says about flags, not checked yet: TOML, each key the name of a flag without its dashes.
type configFile struct {
	path     string
	settings []setting // in the file's order
}

// setting is one key of a file.
type setting struct {
	key   string
	value any    // a bool, an int64, a string, a []string; nil for what no flag takes
	raw   []byte // KEY = VALUE as it stands in the file; of a table its name
	line  int
}

// String is the setting in one line, much as it stands in the file.
func (s setting) String() string { return strings.Join(strings.Fields(string(s.raw)), " ") }

// readConfigFile reads the file at path.
func readConfigFile(path string) (configFile, error) {
	c := configFile{path: path}
	text, err := os.ReadFile(path)
	if err != nil {
		return c, bridged.Errorf(bridged.ErrInvalid, "cannot read the configuration: %w", err)
	}
	return c, c.read(text)
}

// read takes the settings out of a document. Package unstable is the parser of go-toml alone: it tells the lines, and decoding into types
// would be 0.3 MB of the binary.
func (c *configFile) read(text []byte) (err error) {
	var p unstable.Parser
	p.Reset(text)
	if c.settings, err = readSettings(&p); err == nil {
		return nil
	}
	where := c.path
	if bad := new(unstable.ParserError); errors.As(err, &bad) {
		at := p.Shape(p.Range(bad.Highlight)).Start
		where = fmt.Sprintf("%s:%d:%d", c.path, at.Line, at.Column)
	}
	return bridged.Errorf(bridged.ErrInvalid, "%s: cannot be read as TOML, a line KEY = VALUE each: %w", where, err)
}

// readSettings are the keys of a document, in its order. A table is one of them, without what is in it: no flag is one.
func readSettings(p *unstable.Parser) ([]setting, error) {
	var all []setting
	for table := false; p.NextExpression(); {
		e := p.Expression()
		if table && e.Kind == unstable.KeyValue {
			continue
		}
		table = e.Kind != unstable.KeyValue
		s := newSetting(p, e)
		if i := slices.IndexFunc(all, func(other setting) bool { return other.key == s.key }); i >= 0 {
			return nil, unstable.NewParserError(s.raw, "%s is in line %d, too", s.key, all[i].line)
		}
		all = append(all, s)
	}
	return all, p.Error()
}

func newSetting(p *unstable.Parser, e *unstable.Node) setting {
	name := e.Key() // part by part
	name.Next()
	s := setting{key: string(name.Node().Data), raw: p.Raw(name.Node().Raw)}
	for name.Next() {
		s.key += "." + string(name.Node().Data)
	}
	if e.Kind == unstable.KeyValue {
		s.value, s.raw = valueOf(e.Value()), p.Raw(e.Raw)
	}
	s.line = p.Shape(p.Range(s.raw)).Start.Line
	return s
}

func valueOf(v *unstable.Node) any {
	switch v.Kind {
	case unstable.Bool:
		return string(v.Data) == "true"
	case unstable.String:
		return string(v.Data)
	case unstable.Integer:
		if n, err := strconv.ParseInt(string(v.Data), 0, 64); err == nil {
			return n
		}
	case unstable.Array:
		texts := []string{}
		for it := v.Children(); it.Next(); {
			if it.Node().Kind != unstable.String {
				return nil
			}
			texts = append(texts, string(it.Node().Data))
		}
		return texts
	}
	return nil
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
	case []string:
		if list {
			return v, nil
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
	return nil, fmt.Errorf("%v: want %s", s, want)
}

// notInFile are flags that say where to look, for the file itself or for a daemon, and no more about how this one is.
func notInFile(name string) bool { return name == "config" || name == "host" || name == "help" }

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
			places = append(places, fmt.Sprintf("%v is in %s:%d", s, c.path, s.line))
		}
	}
	if places == nil {
		return err
	}
	return bridged.Errorf(bridged.ErrInvalid, "%w (%s)", err, strings.Join(places, ", "))
}
