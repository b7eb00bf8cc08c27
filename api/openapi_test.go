package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// document is docs/openapi.json, as far as the checker reads it.
type document struct {
	Paths      map[string]map[string]operation
	Components struct{ Schemas map[string]*schema }
}

type operation struct {
	Parameters  []parameter
	RequestBody *struct{ Content map[string]media }
	Responses   map[string]struct{ Content map[string]media }
}

type parameter struct {
	Name, In string
	Required bool
}

type media struct {
	Schema *schema
	// Lines: the answer is one such value a line.
	Lines bool `json:"x-lines"`
}

// schema is the part of JSON Schema that the document uses.
type schema struct {
	Ref                  string `json:"$ref"`
	Description          string
	Type                 any // a string, or several
	Format               string
	Pattern              string
	Enum                 []string
	Items                *schema
	Properties           map[string]*schema
	Required             []string
	AdditionalProperties *additional
	OneOf                []*schema
	Minimum, Maximum     *float64
	MaxLength            *int
}

// additional is false, true or a schema.
type additional struct {
	allowed bool
	schema  *schema
}

func (a *additional) UnmarshalJSON(text []byte) error {
	if err := json.Unmarshal(text, &a.allowed); err == nil {
		return nil
	}
	a.allowed = true
	return json.Unmarshal(text, &a.schema)
}

// readDocument reads docs/openapi.json. A key that the checker does not know is an error: it would check nothing.
func readDocument(t *testing.T) *document {
	t.Helper()
	text, err := os.ReadFile("../docs/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var raw struct {
		Components struct{ Schemas map[string]json.RawMessage }
	}
	doc := &document{}
	if err := json.Unmarshal(text, doc); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &raw); err != nil {
		t.Fatal(err)
	}
	for name, text := range raw.Components.Schemas {
		dec := json.NewDecoder(strings.NewReader(string(text)))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&schema{}); err != nil {
			t.Errorf("schema %s: %v", name, err)
		}
	}
	return doc
}

// operations are "GET /path" of all operations.
func (d *document) operations() []string {
	var all []string
	for path, methods := range d.Paths {
		for method := range methods {
			all = append(all, strings.ToUpper(method)+" "+path)
		}
	}
	slices.Sort(all)
	return all
}

// find is the operation of a call, and its name. Fixed paths come before those with parameters.
func (d *document) find(method, path string) (string, operation, bool) {
	path = regexp.MustCompile(`^/v1\.[0-9]+/`).ReplaceAllString(path, "/")
	patterns := slices.SortedFunc(maps.Keys(d.Paths), func(a, b string) int { return strings.Count(a, "{") - strings.Count(b, "{") })
	for _, p := range patterns {
		op, ok := d.Paths[p][strings.ToLower(method)]
		re := regexp.MustCompile("^" + regexp.MustCompile(`\{[a-z]+\}`).ReplaceAllString(p, "[^/]+") + "$")
		if ok && re.MatchString(path) {
			return method + " " + p, op, true
		}
	}
	return "", operation{}, false
}

// check holds an exchange against the document and returns the name of its operation.
func (d *document) check(x exchange) (string, error) {
	u, err := url.Parse(x.path)
	if err != nil {
		return "", err
	}
	name, op, ok := d.find(x.method, u.EscapedPath())
	if !ok {
		return "", fmt.Errorf("no operation for %s %s", x.method, u.Path)
	}
	for key := range u.Query() {
		if !slices.ContainsFunc(op.Parameters, func(p parameter) bool { return p.In == "query" && p.Name == key }) {
			return name, fmt.Errorf("%s: query parameter %q is not described", name, key)
		}
	}
	response, ok := op.Responses[fmt.Sprint(x.status)]
	if !ok {
		return name, fmt.Errorf("%s: status %d is not described", name, x.status)
	}
	if x.request != "" && x.status < 300 {
		if op.RequestBody == nil {
			return name, fmt.Errorf("%s: a body is not described", name)
		}
		if err := d.checkText(op.RequestBody.Content["application/json"].Schema, x.request); err != nil {
			return name, fmt.Errorf("%s: request: %w", name, err)
		}
	}
	if m, ok := response.Content["application/json"]; ok && !m.Lines {
		if err := d.checkText(m.Schema, x.answer); err != nil {
			return name, fmt.Errorf("%s: answer: %w", name, err)
		}
	} else if lines, there := response.Content["application/x-ndjson"]; ok || there {
		if there {
			m = lines
		}
		for line := range strings.Lines(x.answer) {
			if err := d.checkText(m.Schema, line); err != nil {
				return name, fmt.Errorf("%s: answer: %w", name, err)
			}
		}
	} else if len(response.Content) == 0 && x.answer != "" {
		return name, fmt.Errorf("%s: the answer has a body that is not described", name)
	}
	return name, nil
}

func (d *document) checkText(s *schema, text string) error {
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		return err
	}
	return d.checkValue(s, value, "$")
}

// checkValue holds a value against a schema; path says where the value stands.
func (d *document) checkValue(s *schema, value any, path string) error {
	if s.Ref != "" {
		target, ok := d.Components.Schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")]
		if !ok {
			return fmt.Errorf("%s: %s does not exist", path, s.Ref)
		}
		return d.checkValue(target, value, path)
	}
	if s.OneOf != nil {
		var errs []string
		for _, one := range s.OneOf {
			err := d.checkValue(one, value, path)
			if err == nil {
				return nil
			}
			errs = append(errs, err.Error())
		}
		return fmt.Errorf("%s: none of: %s", path, strings.Join(errs, "; "))
	}
	if !hasType(s.Type, value) {
		return fmt.Errorf("%s: %v is no %v", path, value, s.Type)
	}
	switch v := value.(type) {
	case string:
		return s.checkString(v, path)
	case float64:
		if s.Minimum != nil && v < *s.Minimum || s.Maximum != nil && v > *s.Maximum {
			return fmt.Errorf("%s: %v is out of range", path, v)
		}
	case []any:
		for i, e := range v {
			if err := d.checkValue(s.Items, e, fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
	case map[string]any:
		return d.checkObject(s, v, path)
	}
	return nil
}

func (d *document) checkObject(s *schema, object map[string]any, path string) error {
	for _, name := range s.Required {
		if _, ok := object[name]; !ok {
			return fmt.Errorf("%s: %s is missing", path, name)
		}
	}
	for name, value := range object {
		inner := s.Properties[name]
		switch {
		case inner != nil:
		case s.AdditionalProperties == nil || !s.AdditionalProperties.allowed:
			return fmt.Errorf("%s: %s is not described", path, name)
		case s.AdditionalProperties.schema == nil:
			continue
		default:
			inner = s.AdditionalProperties.schema
		}
		if err := d.checkValue(inner, value, path+"."+name); err != nil {
			return err
		}
	}
	return nil
}

func (s *schema) checkString(v, path string) error {
	switch {
	case s.Enum != nil && !slices.Contains(s.Enum, v):
		return fmt.Errorf("%s: %q is none of %q", path, v, s.Enum)
	case s.MaxLength != nil && len(v) > *s.MaxLength:
		return fmt.Errorf("%s: %q is too long", path, v)
	case s.Pattern != "" && !regexp.MustCompile(s.Pattern).MatchString(v):
		return fmt.Errorf("%s: %q does not match %s", path, v, s.Pattern)
	}
	if s.Format == "date-time" {
		_, err := time.Parse(time.RFC3339Nano, v)
		return err
	}
	return nil
}

func hasType(want, value any) bool {
	if several, ok := want.([]any); ok {
		return slices.ContainsFunc(several, func(one any) bool { return hasType(one, value) })
	}
	switch v := value.(type) {
	case nil:
		return want == "null"
	case bool:
		return want == "boolean"
	case string:
		return want == "string"
	case float64:
		return want == "number" || want == "integer" && v == math.Trunc(v)
	case []any:
		return want == "array"
	}
	return want == "object"
}

// TestCheckerRefuses shows that the checker sees what is not described.
func TestCheckerRefuses(t *testing.T) {
	doc := readDocument(t)
	good := exchange{method: "GET", path: "/bridged/v1/ports", status: 200,
		answer: `[{"Sandbox":"web","Port":"80/tcp","HostIp":"::","HostPort":"8080"}]`}
	if _, err := doc.check(good); err != nil {
		t.Errorf("a good one: %v", err)
	}
	for name, spoil := range map[string]func(*exchange){
		"path":           func(x *exchange) { x.path = "/bridged/v1/port" },
		"method":         func(x *exchange) { x.method = "PUT" },
		"query":          func(x *exchange) { x.path += "?sandbocks=web" },
		"status":         func(x *exchange) { x.status = 418 },
		"field":          func(x *exchange) { x.answer = strings.Replace(x.answer, "Sandbox", "Sandbag", 1) },
		"type":           func(x *exchange) { x.answer = strings.Replace(x.answer, `"8080"`, `8080`, 1) },
		"pattern":        func(x *exchange) { x.answer = strings.Replace(x.answer, "80/tcp", "80/icmp", 1) },
		"missing field":  func(x *exchange) { x.answer = strings.Replace(x.answer, `"HostIp":"::",`, "", 1) },
		"no array":       func(x *exchange) { x.answer = "{}" },
		"null for array": func(x *exchange) { x.answer = "null" },
		"line": func(x *exchange) {
			x.path, x.answer = "/bridged/v1/events", `{"Time":"2026-01-02T15:04:05Z","Type":"sandbox","Action":"create","Name":"web","Attributes":{}}`
		},
	} {
		x := good
		spoil(&x)
		if _, err := doc.check(x); err == nil {
			t.Errorf("%s: %+v passes", name, x)
		}
	}
}
