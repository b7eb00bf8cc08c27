package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/bridged/bridged"
)

// objectFormat is the version of an object's file; see logFormat for when it changes.
//
//	1  no checksum, networks only
//	2  the checksum comes first
//
// A file of an older format is written anew when it is read. testdata has one of each.
const objectFormat = 2

// objectFile is the form of an object's file: one of the objects is there. Sum is the CRC-32C of the file with eight zeros in its place, in hex; it
// stands at the same place in every format from 2 on, so that damage is told from a format of the future.
type objectFile struct {
	Sum         string
	Format      int
	Network     *bridged.Network     `json:",omitempty"`
	Reservation *bridged.Reservation `json:",omitempty"`
}

// kind is what differs between the kinds of object that have files.
type kind[V any] struct {
	name string // for people
	// check says whether something can be an object's id.
	check  func(id string) error
	id     func(*V) string
	called func(*V) string // for people
	field  func(*objectFile) **V
}

func networkKind() kind[bridged.Network] {
	return kind[bridged.Network]{
		name:   "network",
		check:  func(id string) error { return bridged.CheckName("network id", id) },
		id:     func(n *bridged.Network) string { return n.ID },
		called: func(n *bridged.Network) string { return n.Name },
		field:  func(f *objectFile) **bridged.Network { return &f.Network },
	}
}

func reservationKind() kind[bridged.Reservation] {
	return kind[bridged.Reservation]{
		name:  "reservation",
		check: func(id string) error { _, _, err := bridged.ParseReservationID(id); return err },
		id: func(r *bridged.Reservation) string {
			if r.ID != bridged.ReservationID(r.Prefix, r.Range) {
				return "" // no file has that
			}
			return r.ID
		},
		called: func(r *bridged.Reservation) string { return r.ID },
		field:  func(f *objectFile) **bridged.Reservation { return &f.Reservation },
	}
}

const (
	beforeSum = "{\n\t\"Sum\": \""
	noSum     = "00000000"
)

func (k kind[V]) encode(v *V) ([]byte, error) {
	f := objectFile{Sum: noSum, Format: objectFormat}
	*k.field(&f) = v
	b, err := json.MarshalIndent(f, "", "\t")
	if err != nil {
		return nil, err
	}
	b = append(b, '\n')
	copy(b[len(beforeSum):], checksum(b))
	return b, nil
}

// checkSum checks the sum of an object's file; false: it has none.
func checkSum(content []byte) (summed bool, err error) {
	if !bytes.HasPrefix(content, []byte(beforeSum)) || len(content) < len(beforeSum)+len(noSum) {
		return false, nil
	}
	got := string(content[len(beforeSum):][:len(noSum)])
	plain := bytes.Clone(content)
	copy(plain[len(beforeSum):], noSum)
	if want := string(checksum(plain)); got != want {
		return true, fmt.Errorf("its checksum is %s, not %q", want, got)
	}
	return true, nil
}

// decode reads the file at path; format is what it was written in. [bridged.ErrUnavailable]: a format of the future; any other
// error: it is damaged.
func (k kind[V]) decode(path string, content []byte) (v *V, format int, err error) {
	summed, err := checkSum(content)
	if err != nil {
		return nil, 0, err
	}
	// The format comes first, alone: the rest of a newer file may not even decode.
	var f struct{ Format int }
	if err := json.Unmarshal(content, &f); err != nil {
		return nil, 0, err
	}
	if summed != (f.Format > 1) {
		return nil, 0, fmt.Errorf("it has format %d, and that its checksum is there is %t", f.Format, summed)
	}
	if f.Format > objectFormat {
		return nil, 0, newerFormat(path, f.Format, objectFormat)
	}
	var whole objectFile
	if err := json.Unmarshal(content, &whole); err != nil {
		return nil, 0, err
	}
	v = *k.field(&whole)
	switch {
	case f.Format < 1 || v == nil:
		return nil, 0, fmt.Errorf("it holds no %s", k.name)
	case fileName(k.id(v)) != filepath.Base(path):
		return nil, 0, fmt.Errorf("it holds the %s with the id %q", k.name, k.id(v))
	}
	return v, f.Format, k.check(k.id(v))
}

const objectSuffix = ".json"

// fileName is the name of an object's file: its id, with what can't be in a name escaped as in URLs.
func fileName(id string) string { return url.PathEscape(id) + objectSuffix }

// objects is the directory of the files of one kind of object.
type objects[V any] struct {
	kind[V]
	dir string
}

// path is the file of the object with this id.
func (o objects[V]) path(id string) (string, error) {
	if err := o.check(id); err != nil {
		return "", err // it would be no file's name
	}
	return filepath.Join(o.dir, fileName(id)), nil
}

// found are the objects whose files were read, by id; damage says what was wrong with others.
type found[V any] struct {
	objects map[string]*V
	damage  map[string]string
}

// drop removes the file of the object with this id.
func (o objects[V]) drop(id string) error {
	path, err := o.path(id)
	if err != nil {
		return err
	}
	return remove(path)
}

// load reads all files. Damaged ones are set aside; those of an older format are written anew.
func (o objects[V]) load() (f found[V], err error) {
	entries, err := os.ReadDir(o.dir)
	if err != nil {
		return f, diskError("cannot read the "+o.name+"s", err)
	}
	f.objects, f.damage = make(map[string]*V), make(map[string]string)
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), objectSuffix)
		id, err := url.PathUnescape(name)
		if !ok || err != nil {
			continue
		}
		path := filepath.Join(o.dir, e.Name())
		object, format, damaged, err := o.read(path, e)
		if err != nil {
			return f, diskError("cannot read the "+o.name+"s", err)
		}
		if damaged != nil {
			aside, err := setAside(path)
			if err == nil {
				err = remove(path)
			}
			if err != nil {
				return f, diskError("cannot set the damaged file of a "+o.name+" aside", err)
			}
			f.damage[id] = fmt.Sprintf("the %s's file %s is damaged (%v): it was set aside as %s", o.name, path, damaged, aside)
			continue
		}
		f.objects[id] = object
		if format < objectFormat {
			if err := o.write(object); err != nil { // the next start tries again
				f.damage[id] = fmt.Sprintf("cannot write the %s's file %s of format %d anew: %v", o.name, path, format, err)
			}
		}
	}
	return f, nil
}

// read reads one file. damaged says why it holds no object.
func (o objects[V]) read(path string, e os.DirEntry) (object *V, format int, damaged, err error) {
	if !e.Type().IsRegular() {
		return nil, 0, errors.New("it is no file"), nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, 0, nil, err
	}
	object, format, err = o.decode(path, content)
	if errors.Is(err, bridged.ErrUnavailable) {
		return nil, 0, nil, err
	}
	return object, format, err, nil
}

// write writes one file.
func (o objects[V]) write(object *V) error {
	path, err := o.path(o.id(object))
	if err != nil {
		return err
	}
	content, err := o.encode(object)
	if err != nil {
		return err
	}
	return replace(path, content)
}

// complete makes the files what the log says of this boot: it writes those anew that are missing, and removes those whose removal was recorded before
// a crash came. lost: an object was forgotten.
func (o objects[V]) complete(f found[V], logged map[string]*V) (warnings []string, lost bool, err error) {
	for id, object := range logged {
		switch {
		case object == nil && f.objects[id] != nil:
			if err := o.drop(id); err != nil {
				return nil, false, diskError("cannot remove the file of a "+o.name, err)
			}
			delete(f.objects, id)
			continue
		case object == nil, f.objects[id] != nil:
			continue
		}
		file := "the file of " + o.name + " " + o.called(object)
		if err := o.write(object); err != nil {
			return nil, false, diskError("cannot write "+file+" anew", err)
		}
		f.objects[id] = object
		if f.damage[id] == "" {
			f.damage[id] = file + " was gone"
		}
		f.damage[id] += ", and written anew from the log"
	}
	for id, what := range f.damage {
		if f.objects[id] == nil {
			what += ", and the " + o.name + " is forgotten"
			lost = true
		}
		warnings = append(warnings, what)
	}
	return warnings, lost, nil
}
