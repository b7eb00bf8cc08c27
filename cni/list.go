package cni

import (
	"encoding/json"
	"fmt"
)

// CheckList says whether a runtime's configuration list asks for what can be, as far as that is known before there is a container. Plugins
// of other types are not looked at.
func CheckList(text []byte) error {
	var list struct {
		CNIVersion Version
		Name       string
		Plugins    []map[string]any
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return decodeError("the configuration list", text, err)
	}
	for i, entry := range list.Plugins {
		if entry["type"] != pluginType {
			continue
		}
		if err := checkEntry(entry, list.Name, list.CNIVersion); err != nil {
			return fmt.Errorf("plugins[%d]: %w", i, err)
		}
	}
	return nil
}

// pluginType is what the plugin is called in configurations.
const pluginType = "bridged-cni"

// checkEntry checks an entry as the runtime would hand it on.
func checkEntry(entry map[string]any, name string, v Version) error {
	if err := v.check(); err != nil {
		return err
	}
	entry["name"], entry["cniVersion"] = name, v
	text, err := json.Marshal(entry)
	if err != nil {
		return err
	}
	c, err := ParseConfig(text)
	if err != nil {
		return err
	}
	_, err = c.Attachment(Environment{})
	return err
}
