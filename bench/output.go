package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/bridged/bridged/bench/report"
)

// output is a file that a report is written to. It is made before anything is measured, so that one which can't be costs no run, and has its name when it
// is whole.
type output struct {
	name   string
	file   *os.File
	render func(*report.Report) ([]byte, error)
	// inPlace: the file was there, and is no regular one: a pipe or a device.
	inPlace bool
}

// outputs makes the files that were asked for.
func outputs(o options) (all []*output, err error) {
	for _, out := range []*output{
		{name: o.jsonFile, render: (*report.Report).JSON}, {name: o.htmlFile, render: (*report.Report).HTML},
	} {
		if out.name == "" {
			continue
		}
		if err := out.open(); err != nil {
			discard(all)
			return nil, fmt.Errorf("cannot write the report to %s: %w", out.name, err)
		}
		all = append(all, out)
	}
	return all, nil
}

func (o *output) open() error {
	info, err := os.Stat(o.name)
	if o.inPlace = err == nil && !info.Mode().IsRegular(); o.inPlace {
		o.file, err = os.OpenFile(o.name, os.O_WRONLY, 0)
		return err
	}
	if target, err := filepath.EvalSymlinks(o.name); err == nil {
		o.name = target
	}
	if o.file, err = os.CreateTemp(filepath.Dir(o.name), "."+filepath.Base(o.name)+"-*"); err != nil {
		return err
	}
	if err := o.file.Chmod(0o644); err != nil {
		discard([]*output{o})
		return err
	}
	return nil
}

// write writes the report, after which there is nothing to discard.
func (o *output) write(r *report.Report) error {
	text, err := o.render(r)
	if err == nil {
		_, err = o.file.Write(text)
	}
	if err = errors.Join(err, o.file.Close()); err == nil && !o.inPlace {
		err = os.Rename(o.file.Name(), o.name)
	}
	if err != nil {
		discard([]*output{o})
		return fmt.Errorf("cannot write the report to %s: %w", o.name, err)
	}
	return nil
}

// discard removes files that have no name yet. One that has is not there under the other.
func discard(all []*output) {
	for _, o := range all {
		o.file.Close()
		if !o.inPlace {
			os.Remove(o.file.Name())
		}
	}
}
