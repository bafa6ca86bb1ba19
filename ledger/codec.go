package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/ledger/facts"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// The frame around a record's body, little endian:
//
//	 0        4        8                16  17
//	+--------+--------+----------------+---+------------------+
//	| crc32c | length | number         | t | body             |
//	+--------+--------+----------------+---+------------------+
//	  of all   of the   of the record    its type
//	  behind   body
//
// A body is fields in a fixed order: integers as varints, strings behind their length.
const (
	frameLen  = 17
	maxBody   = 1 << 20 // a longer body is corruption
	maxString = 4 << 10
	maxList   = 1 << 10
)

// kind is the type of a record.
type kind byte

// The types of records; numbers are never reused.
const (
	kindReserve1 kind = 1  // a Reservation as it was first written; only read
	kindSettle1  kind = 2  // a Record as it was first written; only read
	kindStart    kind = 3  // a process opened the journal; its number may jump
	kindEpoch    kind = 4  // the process learned its epoch, which holds from its start on
	kindCheck    kind = 5  // first of a segment: the reservations that are open
	kindSettle2  kind = 6  // a Record in its second form; only read
	kindSettle   kind = 7  // a Record
	kindReserve  kind = 8  // a Reservation
	kindAmend    kind = 9  // other holds of a Reservation
	kindEnd      kind = 10 // bound of the known types, never written
)

// settles says whether the record is a SETTLE in any of its forms.
func (k kind) settles() bool { return k == kindSettle || k == kindSettle2 || k == kindSettle1 }

// reserves says whether the record is a RESERVE in any of its forms.
func (k kind) reserves() bool { return k == kindReserve || k == kindReserve1 }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errShort = errors.New("record is cut short")

// beginFrame appends an empty frame, whose body the caller appends before endFrame.
func beginFrame(b []byte, k kind, number uint64) []byte {
	var h [frameLen]byte
	binary.LittleEndian.PutUint64(h[8:], number)
	h[16] = byte(k)
	return append(b, h[:]...)
}

// endFrame fills in the length and checksum of the frame that begins at.
func endFrame(b []byte, at int) {
	f := b[at:]
	binary.LittleEndian.PutUint32(f[4:], uint32(len(f)-frameLen))
	binary.LittleEndian.PutUint32(f, crc32.Checksum(f[4:], castagnoli))
}

// frameNumber reads the number of the first frame of b.
func frameNumber(b []byte) uint64 { return binary.LittleEndian.Uint64(b[8:]) }

// frame is a record whose checksum is right.
type frame struct {
	kind   kind
	number uint64
	body   []byte
	size   int // of the whole frame
}

var (
	errCut = errors.New("frame runs over the end")
	errBad = errors.New("frame is damaged")
)

// readFrame reads the frame at the start of b, which it does not copy.
func readFrame(b []byte) (frame, error) {
	if len(b) < frameLen {
		return frame{}, errCut
	}
	n := binary.LittleEndian.Uint32(b[4:])
	k := kind(b[16])
	if n > maxBody || k == 0 {
		return frame{}, errBad
	}
	size := frameLen + int(n)
	if len(b) < size {
		return frame{}, errCut
	}
	if crc32.Checksum(b[4:size], castagnoli) != binary.LittleEndian.Uint32(b) {
		return frame{}, errBad
	}
	if k >= kindEnd {
		return frame{}, fmt.Errorf("record type %d is not known to this version", k)
	}
	return frame{kind: k, number: binary.LittleEndian.Uint64(b[8:]), body: b[frameLen:size], size: size}, nil
}

func putString(b []byte, s string) []byte {
	if len(s) > maxString {
		s = s[:maxString]
	}
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func putCharges(b []byte, cs []AccountCharge) []byte {
	cs = cs[:min(len(cs), maxList)]
	b = binary.AppendUvarint(b, uint64(len(cs)))
	for i := range cs {
		b = putString(b, string(cs[i].Account))
		b = binary.AppendVarint(b, int64(cs[i].Start))
		b = binary.AppendVarint(b, int64(cs[i].Amount))
	}
	return b
}

func putReservation(b []byte, r *Reservation) []byte {
	b = putString(b, r.RequestID)
	b = binary.AppendVarint(b, int64(r.Time))
	b = putString(b, r.KeyID)
	b = putString(b, r.TeamID)
	b = putString(b, r.User)
	b = putString(b, r.Model)
	b = binary.AppendVarint(b, int64(r.Hold))
	b = putCharges(b, r.Holds)
	for _, s := range [...]string{r.OrganizationID, r.ProjectID, r.UserID, r.CustomerID} {
		b = putString(b, s)
	}
	return putStrings(b, r.Tags)
}

func putStrings(b []byte, list []string) []byte {
	list = list[:min(len(list), maxList)]
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = putString(b, s)
	}
	return b
}

func putRecord(b []byte, r *Record) []byte {
	b = binary.AppendUvarint(b, r.Reserved)
	b = putString(b, r.RequestID)
	b = binary.AppendVarint(b, int64(r.Time))
	for _, s := range [...]string{r.KeyID, r.TeamID, r.User, r.Model, r.DeploymentID, r.Endpoint, r.ErrorKind} {
		b = putString(b, s)
	}
	for _, v := range [...]int64{
		int64(r.Status), r.Usage.Input, r.Usage.CacheRead, r.Usage.CacheWrite, r.Usage.Output, r.Usage.Reasoning,
		int64(r.Usage.Source), int64(r.Cost), int64(r.Hold), int64(r.Duration), int64(r.TTFT), int64(r.Flags),
	} {
		b = binary.AppendVarint(b, v)
	}
	b = putCharges(b, r.Charges)
	b = putStrings(b, r.Tags)
	for _, s := range [...]string{r.UserID, r.Provider, r.ErrorCode, r.Guardrail} {
		b = putString(b, s)
	}
	b = binary.AppendVarint(b, int64(r.Attempts))
	results := r.Guardrails[:min(len(r.Guardrails), maxList)]
	b = binary.AppendUvarint(b, uint64(len(results)))
	for i := range results {
		b = putString(b, results[i].Guardrail)
		b = putString(b, results[i].Hook)
		b = putString(b, results[i].Status)
	}
	for _, s := range [...]string{r.OrganizationID, r.ProjectID, r.CustomerID, r.SessionID} {
		b = putString(b, s)
	}
	return putMore(putReceipt(b, &r.Receipt), r)
}

func putReceipt(b []byte, r *Receipt) []byte {
	for _, s := range [...]string{r.Step, r.Scope, r.Entity, r.Rule, r.PriceSource} {
		b = putString(b, s)
	}
	for _, v := range [...]int64{r.Prompt, r.Completion, r.Clamped} {
		b = binary.AppendVarint(b, v)
	}
	tries := r.Tries[:min(len(r.Tries), maxList)]
	b = binary.AppendUvarint(b, uint64(len(tries)))
	for i := range tries {
		t := &tries[i]
		for _, s := range [...]string{t.DeploymentID, t.Provider, t.ErrorKind, t.ErrorCode} {
			b = putString(b, s)
		}
		b = binary.AppendVarint(b, int64(t.Status))
		b = binary.AppendVarint(b, int64(t.Duration))
	}
	return b
}

// foundBit says that a record tells what guardrails found, behind all else.
const foundBit = 1 << 19

// factsBit says that a record has facts, behind all else.
const factsBit = 1 << 30

// chosenBit says that a record names the callbacks that its holders chose, behind what guardrails found.
const chosenBit = 1 << 20

// more are the fields that few records have: those of a usage beside the five that every one
// has, what an adjustment corrects, and the version of a stored prompt, whose name stands at the end.
func more(u *llm.Usage, adjusts, prompt *int64) [19]*int64 {
	n := &u.Units
	return [...]*int64{
		&u.CacheWrite1h, &u.CacheReadAudio, &u.CacheReadImage, &u.AudioInput, &u.ImageInput, &u.AudioOutput, &u.ImageOutput,
		&n.ServedMS, &n.InputMS, &n.OutputMS, &n.Characters, &n.Queries, &n.Pages,
		&n.InputImages, &n.OutputImages, &n.InputPixels, &n.OutputPixels,
		adjusts, prompt,
	}
}

// putMore appends a set with a bit for each field that is not 0, those fields, and the tier of
// service; nothing if there is nothing to say.
func putMore(b []byte, r *Record) []byte {
	var set uint64
	u, adjusts := &r.Usage, int64(r.Adjusts)
	fields := more(u, &adjusts, &r.PromptVersion)
	for i, v := range fields {
		if *v != 0 {
			set |= 1 << i
		}
	}
	if slices.ContainsFunc(r.Guardrails, func(g GuardrailResult) bool { return g.Found != "" }) {
		set |= foundBit
	}
	if len(r.Callbacks) > 0 {
		set |= chosenBit
	}
	if r.Receipt.Facts.Path != "" {
		set |= factsBit
	}
	if set == 0 && u.Service == llm.ServiceUnsaid {
		return b
	}
	b = binary.AppendUvarint(b, set)
	for i, v := range fields {
		if set&(1<<i) != 0 {
			b = binary.AppendVarint(b, *v)
		}
	}
	b = binary.AppendUvarint(b, uint64(u.Service))
	if r.PromptVersion != 0 {
		b = putString(b, r.Prompt)
	}
	if set&foundBit != 0 {
		results := r.Guardrails[:min(len(r.Guardrails), maxList)]
		b = binary.AppendUvarint(b, uint64(len(results)))
		for i := range results {
			b = putString(b, results[i].Found)
		}
	}
	if set&chosenBit != 0 {
		b = putStrings(b, r.Callbacks)
	}
	if set&factsBit != 0 {
		b = r.Receipt.Facts.Append(b) // to the end of the record
	}
	return b
}

// more reads what putMore wrote.
func (r *reader) more(to *Record) {
	if r.err != nil || len(r.b) == 0 {
		return
	}
	var adjusts int64
	u, set := &to.Usage, r.uint()
	for i, v := range more(u, &adjusts, &to.PromptVersion) {
		if set&(1<<i) != 0 {
			*v = r.int()
		}
	}
	to.Adjusts = uint64(adjusts)
	u.Service = llm.Service(min(r.uint(), math.MaxUint8))
	if to.PromptVersion != 0 {
		to.Prompt = r.string()
	}
	if set&foundBit != 0 {
		for i, found := range r.strings() {
			if i < len(to.Guardrails) {
				to.Guardrails[i].Found = found
			}
		}
	}
	if set&chosenBit != 0 {
		to.Callbacks = r.strings()
	}
	if set&factsBit != 0 && r.err == nil {
		to.Receipt.Facts, r.err = facts.Parse(r.b)
		r.b = nil
	}
}

// reader takes fields off a body; the first field that is not there makes all later ones
// zero and err set.
type reader struct {
	b   []byte
	err error
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.err, r.b = errShort, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.err, r.b = errShort, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// skip passes over a string.
func (r *reader) skip() {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.err, r.b = errShort, nil
		return
	}
	r.b = r.b[n:]
}

func (r *reader) string() string {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.err, r.b = errShort, nil
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

// count reads the length of a list whose items take at least one byte each.
func (r *reader) count() int {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.err, r.b = errShort, nil
		return 0
	}
	return int(n)
}

func (r *reader) charges() []AccountCharge {
	n := r.count()
	if n == 0 {
		return nil
	}
	cs := make([]AccountCharge, 0, min(n, maxList))
	for range n {
		c := AccountCharge{
			Account: resource.AccountID(r.string()),
			Start:   resource.Time(r.int()),
			Amount:  resource.Money(r.int()),
		}
		if r.err != nil {
			return nil
		}
		cs = append(cs, c)
	}
	return cs
}

func (r *reader) strings() []string {
	var list []string
	for range r.count() {
		list = append(list, r.string())
		if r.err != nil {
			return nil
		}
	}
	return list
}

func (r *reader) receipt() Receipt {
	v := Receipt{
		Step: r.string(), Scope: r.string(), Entity: r.string(), Rule: r.string(), PriceSource: r.string(),
		Prompt: r.int(), Completion: r.int(), Clamped: r.int(),
	}
	for range r.count() {
		v.Tries = append(v.Tries, Try{
			DeploymentID: r.string(), Provider: r.string(), ErrorKind: r.string(), ErrorCode: r.string(),
			Status: int(r.int()), Duration: time.Duration(r.int()),
		})
		if r.err != nil {
			break
		}
	}
	return v
}

// done returns the first error, or one for bytes that are left.
func (r *reader) done() error {
	if r.err == nil && len(r.b) > 0 {
		return fmt.Errorf("record has %d bytes too many", len(r.b))
	}
	return r.err
}

func decodeReservation(f frame) (Reservation, error) {
	r := reader{b: f.body}
	v := Reservation{
		RequestID: r.string(),
		Time:      resource.Time(r.int()),
		KeyID:     r.string(),
		TeamID:    r.string(),
		User:      r.string(),
		Model:     r.string(),
		Hold:      resource.Money(r.int()),
		Holds:     r.charges(),
	}
	if f.kind == kindReserve1 {
		return v, r.done()
	}
	v.OrganizationID, v.ProjectID, v.UserID, v.CustomerID = r.string(), r.string(), r.string(), r.string()
	v.Tags = r.strings()
	return v, r.done()
}

func decodeRecord(f frame) (Record, error) {
	r := reader{b: f.body}
	v := Record{
		Number:       f.number,
		Reserved:     r.uint(),
		RequestID:    r.string(),
		Time:         resource.Time(r.int()),
		KeyID:        r.string(),
		TeamID:       r.string(),
		User:         r.string(),
		Model:        r.string(),
		DeploymentID: r.string(),
		Endpoint:     r.string(),
		ErrorKind:    r.string(),
		Status:       int(r.int()),
		Usage: llm.Usage{
			Input: r.int(), CacheRead: r.int(), CacheWrite: r.int(), Output: r.int(), Reasoning: r.int(),
			Source: llm.UsageSource(min(uint64(r.int()), uint64(llm.UsageEstimated))),
		},
		Cost:     resource.Money(r.int()),
		Hold:     resource.Money(r.int()),
		Duration: time.Duration(r.int()),
		TTFT:     time.Duration(r.int()),
		Flags:    Flags(r.int()),
		Charges:  r.charges(),
		Tags:     r.strings(),
	}
	if f.kind == kindSettle1 { // had one field for both
		v.ErrorCode = v.ErrorKind
		return v, r.done()
	}
	v.UserID, v.Provider, v.ErrorCode, v.Guardrail = r.string(), r.string(), r.string(), r.string()
	v.Attempts = int(r.int())
	for range r.count() {
		v.Guardrails = append(v.Guardrails, GuardrailResult{Guardrail: r.string(), Hook: r.string(), Status: r.string()})
		if r.err != nil {
			break
		}
	}
	if f.kind == kindSettle2 {
		r.more(&v)
		return v, r.done()
	}
	v.OrganizationID, v.ProjectID, v.CustomerID, v.SessionID = r.string(), r.string(), r.string(), r.string()
	v.Receipt = r.receipt()
	r.more(&v)
	return v, r.done()
}

// decodeReserved reads only the number of the reservation that a SETTLE body names.
func decodeReserved(body []byte) uint64 {
	r := reader{b: body}
	return r.uint()
}

func putNumbers(b []byte, ns []uint64) []byte {
	b = binary.AppendUvarint(b, uint64(len(ns)))
	for _, n := range ns {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func decodeNumbers(body []byte) ([]uint64, error) {
	r := reader{b: body}
	n := r.count()
	ns := make([]uint64, 0, n)
	for range n {
		ns = append(ns, r.uint())
	}
	return ns, r.done()
}

// AppendRecord appends the record, without its number and node, as ParseRecord reads it.
func AppendRecord(b []byte, r *Record) []byte { return putRecord(append(b, byte(kindSettle)), r) }

// ParseRecord reads what AppendRecord wrote, now or in an earlier version.
func ParseRecord(b []byte) (Record, error) {
	if len(b) == 0 || !kind(b[0]).settles() {
		return Record{}, errShort
	}
	return decodeRecord(frame{kind: kind(b[0]), body: b[1:]})
}

// RecordTime reads no more of what AppendRecord wrote than the record's time.
func RecordTime(b []byte) (resource.Time, error) {
	if len(b) == 0 || !kind(b[0]).settles() {
		return 0, errShort
	}
	r := reader{b: b[1:]}
	r.uint() // the number of its reservation
	r.skip() // its request
	at := resource.Time(r.int())
	return at, r.err
}
