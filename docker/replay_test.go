package docker_test

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// recorded is a call that an engine made of a stub.
type recorded struct {
	Engine, Phase, Path string
	Body                any
	Reply               map[string]any `json:"stub_reply"`
}

// records are all recorded calls, in their order.
func records(t testing.TB) (all []recorded) {
	t.Helper()
	text, err := os.ReadFile("testdata/calls.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		var r recorded
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// player makes recorded calls. What the stub has given out is replaced by what the server gives out.
type player struct {
	*served
	ours map[string]string // by what the stub said
}

// play makes one call.
func (p player) play(r recorded) answer {
	p.t.Helper()
	body := ""
	if r.Body != nil {
		text, err := json.Marshal(p.translate(r.Body))
		if err != nil {
			p.t.Fatal(err)
		}
		body = string(text)
	}
	a := p.post(r.Path, body)
	if strings.HasSuffix(r.Path, ".ReleaseAddress") {
		delete(p.ours, r.Body.(map[string]any)["Address"].(string))
	}
	for _, field := range []string{"PoolID", "Address", "LocalDefaultAddressSpace"} {
		theirs, _ := r.Reply[field].(string)
		ours, given := a.fields[field].(string)
		if !given || theirs == "" {
			continue
		}
		p.ours[theirs] = ours
		if field == "Address" {
			bare := func(text string) string { a, _, _ := strings.Cut(text, "/"); return a }
			p.ours[bare(theirs)] = bare(ours)
		}
	}
	return a
}

// translate replaces the texts in a value.
func (p player) translate(value any) any {
	switch v := value.(type) {
	case string:
		if ours, ok := p.ours[v]; ok {
			return ours
		}
	case []any:
		all := make([]any, len(v))
		for i := range v {
			all[i] = p.translate(v[i])
		}
		return all
	case map[string]any:
		all := make(map[string]any, len(v))
		for key := range v {
			all[key] = p.translate(v[key])
		}
		return all
	}
	return value
}

// refusal says why a call is refused that the stub did not refuse; "": it is not.
func (r recorded) refusal() string {
	body, _ := json.Marshal(r.Body)
	switch {
	case strings.HasSuffix(r.Path, ".ProgramExternalConnectivity") && strings.Contains(string(body), `"HostIP":"::1"`):
		return "[::1] can't be reached by DNAT"
	// The stub had its requests repeated when the engine started, which this driver does not ask for.
	case strings.Contains(r.Phase, "dockerd start") && strings.HasSuffix(r.Path, ".RequestPool"):
		return "subnet "
	case strings.Contains(r.Phase, "dockerd start") && strings.HasSuffix(r.Path, ".RequestAddress"):
		return " in use"
	}
	return ""
}

// TestReplay: all calls that engines of two versions made, in their order, are done, and nothing is left of them in the end.
func TestReplay(t *testing.T) {
	s := ready(t)
	p := player{s, make(map[string]string)}
	for i, r := range records(t) {
		want, before := r.refusal(), s.engine.snapshot()
		a := p.play(r)
		failure := a.failure(r.Path)
		if a.status != 200 || !strings.Contains(failure, want) || (failure != "") != (want != "") || want != "" && !s.engine.unchanged(before) {
			body, _ := json.Marshal(r.Body)
			t.Errorf("line %d, %s, %s: %s %.200s: %d %s", i+1, r.Engine, r.Phase, r.Path, body, a.status, a.text)
		}
	}
	if left := newFake(); !s.engine.unchanged(left.snapshot()) {
		t.Errorf("left are %v", s.engine.snapshot())
	}
}
