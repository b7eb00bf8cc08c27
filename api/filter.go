package api

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/bridged/bridged"
)

// filters are what Docker's --filter asks for: values by key.
type filters map[string][]string

// parseFilters reads the query parameter: {"name": {"x": true}}, or of old clients {"name": ["x"]}.
func parseFilters(text string, possible ...string) (filters, error) {
	if text == "" {
		return nil, nil
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		return nil, bridged.Errorf(bridged.ErrInvalid, "invalid filters %q: %w", text, err)
	}
	f := make(filters, len(raw))
	for _, key := range sortedKeys(raw) {
		if !slices.Contains(possible, key) {
			return nil, bridged.Errorf(bridged.ErrInvalid, "invalid filter %q: possible are %s", key, strings.Join(possible, ", "))
		}
		var list []string
		var set map[string]bool
		if json.Unmarshal(raw[key], &list) != nil && json.Unmarshal(raw[key], &set) != nil {
			return nil, bridged.Errorf(bridged.ErrInvalid, `invalid filter %q: want {"VALUE": true}, not %s`, key, raw[key])
		}
		for _, value := range sortedKeys(set) {
			if set[value] {
				list = append(list, value)
			}
		}
		f[key] = list
	}
	return f, nil
}

// any reports whether one of a key's values passes the test, or there is none.
func (f filters) any(key string, test func(value string) bool) bool {
	return len(f[key]) == 0 || slices.ContainsFunc(f[key], test)
}

// all reports whether all of a key's values pass the test.
func (f filters) all(key string, test func(value string) bool) bool {
	return !slices.ContainsFunc(f[key], func(v string) bool { return !test(v) })
}

// oneOf refuses a key's values but these.
func (f filters) oneOf(key string, possible ...string) error {
	for _, v := range f[key] {
		if !slices.Contains(possible, v) {
			return bridged.Errorf(bridged.ErrInvalid, "invalid filter %q=%q: want %s", key, v, strings.Join(possible, " or "))
		}
	}
	return nil
}

// hasAttribute reports whether a map has KEY, or KEY=VALUE.
func hasAttribute(attributes map[string]string, text string) bool {
	return bridged.Network{Labels: attributes}.HasLabel(text)
}

// networkFilterKeys are the keys of `network ls --filter`.
var networkFilterKeys = []string{"dangling", "driver", "id", "label", "name", "scope", "type"}

// The values of a filter that is true or false.
var yes, no = []string{"true", "1"}, []string{"false", "0"}

// networkFilters reads the filters of a list of networks.
func networkFilters(text string) (filters, error) {
	f, err := parseFilters(text, networkFilterKeys...)
	if err != nil {
		return nil, err
	}
	if err := f.oneOf("type", "builtin", "custom"); err != nil {
		return nil, err
	}
	return f, f.oneOf("dangling", slices.Concat(yes, no)...)
}

// matchNetwork reports whether a network passes.
func (f filters) matchNetwork(n bridged.NetworkInfo) bool {
	return f.any("name", func(v string) bool { return strings.Contains(n.Name, v) }) &&
		f.any("id", func(v string) bool { return strings.Contains(n.ID, v) }) &&
		f.any("driver", func(v string) bool { return string(n.Driver) == v }) &&
		f.any("scope", func(v string) bool { return v == scopeLocal }) &&
		f.any("type", func(v string) bool { return n.Predefined() == (v == "builtin") }) &&
		f.any("dangling", func(v string) bool { return (len(n.Members) == 0 && !n.Predefined()) == slices.Contains(yes, v) }) &&
		f.all("label", n.HasLabel)
}
