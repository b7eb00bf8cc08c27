package store

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/bridged/bridged"
)

// sumSize is the length of what stands before a record's JSON: eight hex digits and a space.
const sumSize = 9

// appendRecord appends v as one line to b.
func appendRecord(b *bytes.Buffer, v any) error {
	start := b.Len()
	b.WriteString("00000000 ")
	if err := appendJSON(b, v); err != nil {
		b.Truncate(start)
		return err
	}
	line := b.Bytes()[start:]
	copy(line, checksum(line[sumSize:len(line)-1]))
	return nil
}

// appendJSON appends v and a newline; there is none in the JSON.
func appendJSON(b *bytes.Buffer, v any) error {
	if c, ok := v.(bridged.Change); ok {
		if text, ok := appendChange(b.AvailableBuffer(), c); ok {
			b.Write(append(text, '\n'))
			return nil
		}
	}
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// recordBody is the JSON of a line, newline included, that checks.
func recordBody(line []byte) ([]byte, error) {
	if len(line) < sumSize+1 || line[sumSize-1] != ' ' || line[len(line)-1] != '\n' {
		return nil, errors.New("it is no record")
	}
	body := line[sumSize : len(line)-1]
	if got, want := string(line[:sumSize-1]), string(checksum(body)); got != want {
		return nil, fmt.Errorf("its checksum is %s, not %q", want, got)
	}
	return body, nil
}

// decodeRecord reads a line into v.
func decodeRecord(line []byte, v any) error {
	body, err := recordBody(line)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, v)
}

// decodeChange reads a line that says how objects changed.
func (s *scanner) decodeChange(line []byte) (c bridged.Change, err error) {
	body, err := recordBody(line)
	if err != nil {
		return c, err
	}
	if c, ok := s.change(body); ok {
		return c, nil
	}
	err = json.Unmarshal(body, &c)
	return c, err
}

// checksum is the CRC-32C of b in lower-case hex.
func checksum(b []byte) []byte {
	sum := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) // the table is made once
	return hex.AppendEncode(make([]byte, 0, sumSize), binary.BigEndian.AppendUint32(nil, sum))
}
