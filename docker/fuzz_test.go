package docker_test

import (
	"encoding/json"
	"net/http"
	"testing"
)

// FuzzCalls: whatever the body of a call is, the answer is JSON with status 200, and one that is refused has changed nothing.
func FuzzCalls(f *testing.F) {
	all := paths()
	index := make(map[string]int)
	for i, path := range all {
		index[path] = i
		f.Add(uint8(i), []byte(fill(`{"NetworkID":"$N","EndpointID":"$E","PoolID":"10.1.0.0/24","Address":"10.1.0.7"}`)))
	}
	for _, r := range records(f) {
		if i, ok := index[r.Path]; ok && r.Body != nil {
			body, err := json.Marshal(r.Body)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(uint8(i), body)
		}
	}
	s := furnished(f)
	furniture := s.engine.snapshot()
	f.Fuzz(func(t *testing.T, call uint8, body []byte) {
		s.engine.restore(furniture)
		s.t = t
		before := s.engine.snapshot()
		path := all[int(call)%len(all)]
		a := s.post(path, string(body))
		if a.status != http.StatusOK {
			t.Errorf("%s: %d %s", path, a.status, a.text)
		}
		_, refused := a.fields["Err"]
		if !refused {
			_, refused = a.fields["Error"]
		}
		if refused && !s.engine.unchanged(before) {
			t.Errorf("%s: refused, and something changed: %s", path, a.text)
		}
		s.engine.check(t)
	})
}
