package store

import (
	"bytes"
	"encoding"
	"encoding/json"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bridged/bridged"
)

// standard is a change as encoding/json writes it.
func standard(c bridged.Change) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(c)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// What a printer writes is what encoding/json would have written.
func TestPrinted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawChange(t)
		switch rapid.IntRange(0, 2).Draw(t, "kinds") { // most changes have something that is not for the printer
		case 0:
			c = bridged.Change{Ports: c.Ports}
		case 1:
			c = bridged.Change{Sandboxes: c.Sandboxes, Endpoints: c.Endpoints, Ports: c.Ports}
		}
		before := []byte("before")
		got, ok := appendChange(before, c)
		want, err := standard(c)
		switch {
		case ok && (err != nil || string(got) != "before"+string(want)):
			t.Errorf("printed is\n%s, want\n%s (%v)", got, want, err)
		case !ok && string(got) != "before":
			t.Errorf("what is not for the printer left %q", got)
		}
	})
}

// What requests usually write is for the printer.
func TestPrintedUsually(t *testing.T) {
	attached := attachChange()
	released := bridged.Change{Sandboxes: map[string]*bridged.Sandbox{"s": nil}, Endpoints: map[string]*bridged.Endpoint{"e": nil}}
	for _, c := range []bridged.Change{attached, released, {Ports: attached.Ports}} {
		want, err := standard(c)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := appendChange(nil, c); !ok || string(got) != string(want) {
			t.Errorf("printed is %t, %s; want %s", ok, got, want)
		}
	}
}

// No field is left out: one that is new, too, is printed or refused.
func TestPrintedFields(t *testing.T) {
	check := func(kind reflect.Type, change func(reflect.Value) bridged.Change) {
		for _, field := range fields(kind) {
			v := reflect.New(kind)
			set(t, v.Elem().FieldByIndex(field.Index))
			if p, ok := v.Interface().(*bridged.Port); ok && field.Name != "Binding" {
				p.Binding = bridged.Binding{HostIP: netip.IPv6Unspecified(), Proto: bridged.TCP, HostPort: 1}
			}
			c := change(v)
			want, err := standard(c)
			if err != nil {
				t.Fatalf("%s.%s: %v", kind, field.Name, err)
			}
			if got, ok := appendChange(nil, c); ok && string(got) != string(want) {
				t.Errorf("%s.%s: printed is\n%s, want\n%s", kind, field.Name, got, want)
			}
		}
	}
	check(reflect.TypeFor[bridged.Sandbox](), func(v reflect.Value) bridged.Change {
		return bridged.Change{Sandboxes: map[string]*bridged.Sandbox{"s": v.Interface().(*bridged.Sandbox)}}
	})
	check(reflect.TypeFor[bridged.Endpoint](), func(v reflect.Value) bridged.Change {
		return bridged.Change{Endpoints: map[string]*bridged.Endpoint{"e": v.Interface().(*bridged.Endpoint)}}
	})
	check(reflect.TypeFor[bridged.Port](), func(v reflect.Value) bridged.Change {
		p := v.Interface().(*bridged.Port)
		return bridged.Change{Ports: map[bridged.Binding]*bridged.Port{{HostIP: netip.IPv6Unspecified(), Proto: bridged.TCP, HostPort: 1}: p}}
	})
	check(reflect.TypeFor[bridged.Change](), func(v reflect.Value) bridged.Change { return *v.Interface().(*bridged.Change) })
}

// fields are a struct's, and those of structs in it: a printer that refuses one of these must do so for each of its fields.
func fields(kind reflect.Type) []reflect.StructField {
	var all []reflect.StructField
	for _, field := range reflect.VisibleFields(kind) {
		all = append(all, field)
		if field.Type.Kind() != reflect.Struct || reflect.PointerTo(field.Type).Implements(reflect.TypeFor[encoding.TextMarshaler]()) {
			continue
		}
		for _, inner := range fields(field.Type) {
			inner.Index = append(slices.Clone(field.Index), inner.Index...)
			all = append(all, inner)
		}
	}
	return all
}

// set makes v something else than zero.
func set(t *testing.T, v reflect.Value) {
	t.Helper()
	for _, known := range []any{
		time.Unix(1, 0).UTC(), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParseAddr("10.0.0.1"), bridged.MAC{2},
		bridged.Binding{HostIP: netip.IPv4Unspecified(), Proto: bridged.UDP, HostPort: 2}, bridged.TCP,
	} {
		if v.Type() == reflect.TypeOf(known) {
			v.Set(reflect.ValueOf(known))
			return
		}
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("text")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		set(t, v.Index(0))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		set(t, key)
		if value.Kind() != reflect.Pointer { // a nil one says that the object is gone
			set(t, value)
		}
		v.SetMapIndex(key, value)
	case reflect.Struct:
		for i := range v.NumField() {
			set(t, v.Field(i))
		}
	case reflect.Array:
		set(t, v.Index(0))
	default:
		t.Fatalf("there is no value for a %s", v.Type())
	}
}

func BenchmarkRecord(b *testing.B) {
	published := bridged.Change{Ports: attachChange().Ports}
	var buf bytes.Buffer
	for b.Loop() {
		buf.Reset()
		if err := appendRecord(&buf, published); err != nil {
			b.Fatal(err)
		}
	}
}
