package audit

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"

	"github.com/conclave-llm/conclave/resource"
)

// maxLine is the most bytes of one line of an export.
const maxLine = 64 << 20

// Broken names the first entry that is not as it was written.
type Broken struct {
	Number uint64 // of the entry; 0: the header
	Line   int    // of the file; 0: there is none
	Reason string
}

// Error implements error.
func (b *Broken) Error() string {
	what := "the header"
	if b.Number > 0 {
		what = fmt.Sprintf("entry %d", b.Number)
	}
	if b.Line > 0 {
		what += fmt.Sprintf(" (line %d)", b.Line)
	}
	return "the chain is broken at " + what + ": " + b.Reason
}

// Verdict is what was found of a chain.
type Verdict struct {
	Entries     uint64                `json:"entries"`         // verified
	First       uint64                `json:"first,omitempty"` // number
	Last        uint64                `json:"last,omitempty"`  // number
	Head        resource.Hash         `json:"head"`            // of Last
	Anchor      *resource.AuditAnchor `json:"anchor,omitempty"`
	Fingerprint string                `json:"ca,omitempty"` // SHA-256 of the certificate that the anchor was verified with
	Cluster     string                `json:"cluster,omitempty"`
	Unanchored  bool                  `json:"unanchored,omitempty"` // nothing says where the chain begins and ends
}

// Verifier follows a chain from entry to entry.
type Verifier struct {
	// CA is the cluster CA's certificate (DER) to verify anchors with; nil: the header's.
	CA []byte
	// Gaps lets numbers be left out, as a filtered export does: each entry is then verified
	// by itself.
	Gaps bool

	header  *Header
	bare    bool // there is no header: the lines are those of a sink, which may come twice
	verdict Verdict
}

// Start takes the header and verifies its anchor.
func (v *Verifier) Start(h Header) error {
	if h.Format != exportFormat {
		return &Broken{Reason: fmt.Sprintf("format %d is not known", h.Format)}
	}
	if v.CA == nil {
		v.CA = h.CA
	}
	sum := sha256.Sum256(v.CA)
	v.verdict.Fingerprint, v.verdict.Cluster = hex.EncodeToString(sum[:]), h.Cluster
	if h.Anchor != nil {
		if err := CheckSignature(*h.Anchor, v.CA); err != nil {
			return &Broken{Reason: err.Error()}
		}
		if h.Anchor.Cluster != h.Cluster {
			return &Broken{Reason: "its anchor is of another cluster"}
		}
	}
	v.header, v.verdict.Anchor = &h, h.Anchor
	v.Gaps = v.Gaps || h.Filtered
	return nil
}

// Add verifies the next entry.
func (v *Verifier) Add(l Line) error {
	broken := func(format string, args ...any) error {
		return &Broken{Number: l.Number, Reason: fmt.Sprintf(format, args...)}
	}
	g, err := skim(l.Entry)
	if err != nil {
		return broken("its bytes are no entry")
	}
	if g.number != l.Number {
		return broken("its bytes are of entry %d", g.number)
	}
	if got := link(l.Previous, l.Entry); got != l.Hash {
		return broken("its hash is %s, and of its bytes %s", l.Hash, got)
	}
	if v.bare && v.verdict.Entries > 0 && l.Number <= v.verdict.Last {
		return nil // it was delivered again
	}
	number, previous := v.expected()
	if v.bare && v.verdict.Entries == 0 {
		number, previous = l.Number, l.Previous
	}
	next := l.Number == number
	if !next && (!v.Gaps || l.Number < number) {
		return broken("entry %d was expected", number)
	}
	if next && previous != l.Previous {
		return broken("the entry before it has the hash %s, and it follows %s", previous, l.Previous)
	}
	if v.verdict.Entries == 0 {
		v.verdict.First = l.Number
	}
	v.verdict.Entries++
	v.verdict.Last, v.verdict.Head = l.Number, l.Hash
	return nil
}

// expected is the number of the next entry and the hash that it follows.
func (v *Verifier) expected() (uint64, resource.Hash) {
	switch {
	case v.verdict.Entries > 0:
		return v.verdict.Last + 1, v.verdict.Head
	case v.verdict.Anchor != nil:
		return v.verdict.Anchor.Number + 1, v.verdict.Anchor.Hash
	default:
		return 1, resource.Hash{}
	}
}

// Finish says what was found, and checks that nothing is missing at the end.
func (v *Verifier) Finish() (Verdict, error) {
	h := v.header
	v.verdict.Unanchored = h == nil
	if h == nil || v.Gaps || h.Last == 0 {
		return v.verdict, nil
	}
	if v.verdict.Last < h.Last {
		return v.verdict, &Broken{Number: v.verdict.Last + 1, Reason: fmt.Sprintf("it is missing; the export goes up to entry %d", h.Last)}
	}
	if v.verdict.Last == h.Last && v.verdict.Head != h.Head {
		return v.verdict, &Broken{Number: h.Last, Reason: "its hash is not the one that the header names"}
	}
	return v.verdict, nil
}

// Verify reads an export, in JSON lines or CSV, and verifies it. What is broken is told by a
// *Broken.
func (v *Verifier) Verify(r io.Reader) (Verdict, error) {
	in := bufio.NewReaderSize(r, 1<<16)
	first, err := in.Peek(1)
	if err != nil {
		return Verdict{}, fmt.Errorf("read audit export: %w", err)
	}
	if first[0] == '{' {
		err = v.lines(in)
	} else {
		err = v.rows(in)
	}
	if err != nil {
		return v.verdict, err
	}
	return v.Finish()
}

// headerStart is how the first line of an export begins.
var headerStart = []byte(`{"conclave_audit"`)

// lines reads JSON lines: of an export, or without its header of a sink.
func (v *Verifier) lines(in io.Reader) error {
	s := bufio.NewScanner(in)
	s.Buffer(nil, maxLine)
	for line := 1; s.Scan(); line++ {
		text := bytes.TrimSpace(s.Bytes())
		if len(text) == 0 {
			continue
		}
		var err error
		if v.header == nil && !v.bare && !bytes.HasPrefix(text, headerStart) {
			v.bare = true
		}
		if v.header == nil && !v.bare {
			var h Header
			if err = strictJSON(text, &h); err == nil {
				err = v.Start(h)
			}
		} else {
			err = v.line(text)
		}
		if err != nil {
			return at(err, v.next(), line)
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("read audit export: %w", err)
	}
	return nil
}

// next is the number that a damaged line most likely had.
func (v *Verifier) next() uint64 {
	if v.header == nil && v.verdict.Entries == 0 {
		return 0
	}
	n, _ := v.expected()
	return n
}

// at makes a *Broken of an error that a line gave.
func at(err error, number uint64, line int) error {
	b, ok := errors.AsType[*Broken](err)
	if !ok {
		b = &Broken{Number: number, Reason: err.Error()}
	}
	b.Line = line
	return b
}

func strictJSON(text []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	return dec.Decode(into)
}

// line verifies a line of JSON: its bytes, and that what people read is what they say.
func (v *Verifier) line(text []byte) error {
	var l Line
	if err := strictJSON(text, &l); err != nil {
		return err
	}
	if err := v.Add(l); err != nil {
		return err
	}
	want, err := restored(l)
	if err != nil {
		return err
	}
	b, err := json.Marshal(want)
	if err != nil {
		return fmt.Errorf("encode audit entry: %w", err)
	}
	var is, should any
	if err := errors.Join(looseJSON(text, &is), looseJSON(b, &should)); err != nil {
		return err
	}
	if !reflect.DeepEqual(is, should) {
		return &Broken{Number: l.Number, Reason: "what the line says is not what its bytes say"}
	}
	return nil
}

func looseJSON(text []byte, into *any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	return dec.Decode(into)
}

// restored is the line that the bytes of l give.
func restored(l Line) (Line, error) {
	e, err := decode(l.Entry)
	if err != nil {
		return Line{}, err
	}
	out := Line{AuditEntry: e.shown(), Entry: l.Entry}
	out.Previous, out.Hash = l.Previous, l.Hash
	return out, nil
}

// rows reads CSV.
func (v *Verifier) rows(in io.Reader) error {
	c := csv.NewReader(in)
	c.FieldsPerRecord = len(Columns)
	titles, err := c.Read()
	if err != nil || !slices.Equal(titles, Columns) {
		return &Broken{Line: 1, Reason: "the columns are not those of an audit export"}
	}
	for {
		row, err := c.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		line, _ := c.FieldPos(0)
		if err == nil {
			err = v.row(row)
		}
		if err != nil {
			return at(err, v.next(), line)
		}
	}
}

func (v *Verifier) row(row []string) error {
	last := row[len(row)-1]
	if v.header == nil {
		var h Header
		if err := strictJSON([]byte(last), &h); err != nil {
			return err
		}
		return v.Start(h)
	}
	var l Line
	var err error
	if l.Entry, err = base64.StdEncoding.DecodeString(last); err != nil {
		return err
	}
	e, err := decode(l.Entry)
	if err != nil {
		return err
	}
	l.AuditEntry = e.shown()
	if err := errors.Join(l.Previous.UnmarshalText([]byte(row[len(row)-3])), l.Hash.UnmarshalText([]byte(row[len(row)-2]))); err != nil {
		return err
	}
	if err := v.Add(l); err != nil {
		return err
	}
	want, err := l.Row()
	if err != nil {
		return err
	}
	if !slices.Equal(row, want) {
		return &Broken{Number: l.Number, Reason: "what the row says is not what its bytes say"}
	}
	return nil
}
