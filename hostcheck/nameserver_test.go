package hostcheck_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/bridged/bridged/hostcheck"
)

// write makes files in a directory of the test's, in order, and returns their paths; a file of which the text is "missing" is
// not made.
func write(t *testing.T, texts ...string) []string {
	t.Helper()
	dir := t.TempDir()
	var files []string
	for i, text := range texts {
		file := filepath.Join(dir, string(rune('a'+i)))
		files = append(files, file)
		if text == "missing" {
			continue
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func words[T interface{ String() string }](list []T) []string {
	var s []string
	for _, x := range list {
		s = append(s, x.String())
	}
	return s
}

func TestNameservers(t *testing.T) {
	const stub = "nameserver 127.0.0.53\noptions edns0 trust-ad\n"
	for _, test := range []struct {
		name  string
		files []string
		want  []string
	}{
		{"one of each family", []string{"nameserver 10.0.0.2\nnameserver fd00::2\n"}, []string{"10.0.0.2", "fd00::2"}},
		{"more than the C library's three", []string{strings.Repeat("nameserver 10.0.0.2\n", 5) + "nameserver 10.0.0.3"},
			[]string{"10.0.0.2", "10.0.0.3"}},
		{"comments", []string{"# nameserver 10.0.0.1\n; nameserver 10.0.0.2\nnameserver 10.0.0.3 # office\nnameserver 10.0.0.4;x\nnameserver 10.0.0.5#y\n"},
			[]string{"10.0.0.3", "10.0.0.4", "10.0.0.5"}},
		{"line ends of Windows", []string{"search example.org\r\nnameserver 10.0.0.2\r\nnameserver 10.0.0.3\r\n"}, []string{"10.0.0.2", "10.0.0.3"}},
		{"no line end at the end", []string{"nameserver\t10.0.0.2"}, []string{"10.0.0.2"}},
		{"blanks before and behind", []string{"  nameserver   10.0.0.2  \n"}, []string{"10.0.0.2"}},
		{"zone", []string{"nameserver fe80::1%eth0\n"}, []string{"fe80::1"}},
		{"IPv4 in IPv6", []string{"nameserver ::ffff:10.0.0.2\n"}, []string{"10.0.0.2"}},
		{"what is no server", []string{"nameserver\nnameserver example.org\nnameserver 10.0.0\nnameservers 10.0.0.2\nnameserver10.0.0.2\nsearch 10.0.0.2\n"}, nil},
		{"empty", []string{""}, nil},
		{"missing", []string{"missing"}, nil},
		{"behind a stub", []string{stub, "nameserver 10.0.0.2\n"}, []string{"127.0.0.53", "10.0.0.2"}},
		{"behind a stub of IPv6", []string{"nameserver ::1\n", "nameserver 10.0.0.2\n"}, []string{"::1", "10.0.0.2"}},
		{"behind a stub, with files that are missing", []string{stub, "missing", "nameserver 10.0.0.2\nnameserver 127.0.0.53\n", "missing"},
			[]string{"127.0.0.53", "10.0.0.2"}},
		{"no stub: the other files are old", []string{"nameserver 10.0.0.2\n", "nameserver 10.9.9.9\n"}, []string{"10.0.0.2"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := hostcheck.Nameservers(write(t, test.files...)...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := gocmp.Diff(test.want, words(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestNameserversUnreadable: what can't be read is named, and the rest counts.
func TestNameserversUnreadable(t *testing.T) {
	files := write(t, "nameserver 127.0.0.1\n", "missing", "nameserver 10.0.0.2\n")
	if err := os.Mkdir(files[1], 0o755); err != nil {
		t.Fatal(err)
	}
	got, err := hostcheck.Nameservers(files...)
	if diff := gocmp.Diff([]string{"127.0.0.1", "10.0.0.2"}, words(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var path *fs.PathError
	if !errors.As(err, &path) || path.Path != files[1] {
		t.Errorf("error is %v, want one that names %s", err, files[1])
	}
}

// TestNameserversHuge: no file is read without end.
func TestNameserversHuge(t *testing.T) {
	files := write(t, "nameserver 10.0.0.2\n"+strings.Repeat("#", 2<<20)+"\nnameserver 10.0.0.3\n")
	got, err := hostcheck.Nameservers(files...)
	if diff := gocmp.Diff([]string{"10.0.0.2"}, words(got)); diff != "" || err == nil {
		t.Errorf("error %v, and (-want +got):\n%s", err, diff)
	}
}
