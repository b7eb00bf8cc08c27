package api

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/bridged/bridged"
)

// networkFilter is what Docker's `network ls --filter` asks for: for each key the values of which one must match. Of labels all
// must.
type networkFilter map[string][]string

// filterKeys are the tests of one value each.
var filterKeys = map[string]func(n bridged.NetworkInfo, value string) bool{
	"name":   func(n bridged.NetworkInfo, v string) bool { return strings.Contains(n.Name, v) },
	"id":     func(n bridged.NetworkInfo, v string) bool { return strings.Contains(n.ID, v) },
	"driver": func(n bridged.NetworkInfo, v string) bool { return string(n.Driver) == v },
	"scope":  func(_ bridged.NetworkInfo, v string) bool { return v == scopeLocal },
	"label":  hasLabel,
	"type":   func(n bridged.NetworkInfo, v string) bool { return n.Predefined() == (v == "builtin") },
}

func hasLabel(n bridged.NetworkInfo, v string) bool {
	key, want, exact := strings.Cut(v, "=")
	have, ok := n.Labels[key]
	return ok && (!exact || have == want)
}

// parseFilters reads the query parameter: {"name": {"x": true}}, or of old clients {"name": ["x"]}.
func parseFilters(text string) (networkFilter, error) {
	if text == "" {
		return nil, nil
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		return nil, bridged.Errorf(bridged.ErrInvalid, "invalid filters %q: %w", text, err)
	}
	filter := make(networkFilter, len(raw))
	for _, key := range sortedKeys(raw) {
		if filterKeys[key] == nil {
			return nil, bridged.Errorf(bridged.ErrInvalid, "invalid filter %q: possible are %s", key, strings.Join(sortedKeys(filterKeys), ", "))
		}
		var list []string
		var set map[string]bool
		if json.Unmarshal(raw[key], &list) != nil && json.Unmarshal(raw[key], &set) != nil {
			return nil, bridged.Errorf(bridged.ErrInvalid, `invalid filter %q: want {"VALUE": true}, not %s`, key, raw[key])
		}
		for value, wanted := range set {
			if wanted {
				list = append(list, value)
			}
		}
		for _, value := range list {
			if key == "type" && value != "builtin" && value != "custom" {
				return nil, bridged.Errorf(bridged.ErrInvalid, `invalid filter "type"=%q: want builtin or custom`, value)
			}
		}
		filter[key] = list
	}
	return filter, nil
}

func (f networkFilter) match(n bridged.NetworkInfo) bool {
	for key, values := range f {
		test := func(v string) bool { return filterKeys[key](n, v) }
		if key == "label" {
			if slices.ContainsFunc(values, func(v string) bool { return !test(v) }) {
				return false
			}
		} else if len(values) > 0 && !slices.ContainsFunc(values, test) {
			return false
		}
	}
	return true
}
