package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"testing"

	"github.com/bridged/bridged"
)

// answering is a transport whose other end gives one answer to everything.
type answering struct {
	status int
	body   []byte
}

func (a answering) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{
		Status: fmt.Sprint(a.status, " ", http.StatusText(a.status)), StatusCode: a.status,
		Body: io.NopCloser(bytes.NewReader(a.body)), Header: make(http.Header), Request: req,
	}, nil
}

// FuzzAnswers: whatever listens on the socket, its answer is an error that says something, or a value that is the same when it is written
// and read again, as --json prints it.
func FuzzAnswers(f *testing.F) {
	for status, bodies := range map[uint16][]string{
		200: {
			`[{"Name":"n","Id":"00","Created":"2026-01-02T15:04:05Z","IPAM":{"Config":[{"Subnet":"10.0.0.0/24","AuxiliaryAddresses":{"a":"10.0.0.9"}}]},"Containers":{"s":{"Name":"x"}}}]`,
			`[{"Id":"00","Name":"web","Networks":{"bridge":{"IPAddress":"172.17.0.2","IPPrefixLen":16}},"Ports":{"80/tcp":[{"HostIp":"::","HostPort":"80"}]},"Links":[{"Parent":"a","Ports":["1/tcp"]}]}]`,
			`{"Ready":true,"Since":"2026-01-02T15:04:05.5+02:00","Transactions":18446744073709551615,"Warnings":null}`,
			`{"Id":"00","Name":"web","Warnings":["w"],"Networks":null}`, `{"HostIP":"","HostPort":-1}`, `{"View":"diff","Text":"\u0000","Differs":true}`,
			`[]`, `null`, `{}`, `{"Since":"yesterday"}`, `{"Ready":true} trailing`,
		},
		404: {`{"message":"no such thing","code":"not-found"}`, `<html>`, `{"message":""}`, `{"message":"\ud800","code":7}`},
		500: {`{"message":"x","code":"internal"}`, ``},
		301: {`moved`},
	} {
		for _, b := range bodies {
			f.Add(status, []byte(b))
		}
	}
	f.Fuzz(func(t *testing.T, status uint16, body []byte) {
		if status < 200 || status > 999 {
			t.Skip("no status of an answer")
		}
		c := &Client{host: DefaultHost, http: &http.Client{Transport: answering{int(status), body}}}
		ctx := t.Context()
		for _, call := range []func() (any, error){
			func() (any, error) { return c.Networks(ctx) },
			func() (any, error) { return c.Network(ctx, "n") },
			func() (any, error) { return c.CreateNetwork(ctx, NetworkCreate{}) },
			func() (any, error) { return c.Sandboxes(ctx) },
			func() (any, error) { return c.CreateSandbox(ctx, SandboxCreate{}) },
			func() (any, error) { return c.Ports(ctx, "") },
			func() (any, error) { return c.AddPorts(ctx, PortsAdd{}) },
			func() (any, error) { return c.Links(ctx, "") },
			func() (any, error) { return c.AllocateInterface(ctx, InterfaceAllocate{}) },
			func() (any, error) { return c.AllocatePort(ctx, PortAllocate{}) },
			func() (any, error) { return c.Status(ctx) },
			func() (any, error) { return c.Ruleset(ctx, bridged.RulesetDiff) },
		} {
			v, err := call()
			if err == nil {
				writtenAndRead(t, v)
			} else if err.Error() == "" {
				t.Fatalf("%d %q is an error that says nothing", status, body)
			}
		}
		if err := c.RemoveNetwork(context.Background(), "n"); (err == nil) != (status < 300) {
			t.Fatalf("%d %q: %v", status, body, err)
		}
	})
}

// writtenAndRead: JSON does not change the value, but for what is empty.
func writtenAndRead(t *testing.T, v any) {
	t.Helper()
	first, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("%+v: %v", v, err)
	}
	again := reflect.New(reflect.TypeOf(v))
	if err := json.Unmarshal(first, again.Interface()); err != nil {
		t.Fatalf("%s: %v", first, err)
	}
	if second, err := json.Marshal(again.Interface()); err != nil || !bytes.Equal(first, second) {
		t.Fatalf("%s is read and written as %s, %v", first, second, err)
	}
}
