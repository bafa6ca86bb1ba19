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
	"github.com/conclave-llm/conclave/ledger/fields"
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
	maxBody   = 1 << 20 // a longer body is corruption, and never written
	maxString = 4 << 10
	maxList   = 1 << 10
	maxName   = 512 // bytes of a name that totals are kept by; longer ones that begin alike are one
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

func putString(b []byte, s string) []byte { return fields.AppendText(b, s, maxString) }

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
	if r.Err != nil || len(r.B) == 0 {
		return
	}
	var adjusts int64
	u, set := &to.Usage, r.Uint()
	for i, v := range more(u, &adjusts, &to.PromptVersion) {
		if set&(1<<i) != 0 {
			*v = r.Int()
		}
	}
	to.Adjusts = uint64(adjusts)
	u.Service = llm.Service(min(r.Uint(), math.MaxUint8))
	if to.PromptVersion != 0 {
		to.Prompt = r.Text()
	}
	if set&foundBit != 0 {
		for i, found := range r.Texts() {
			if i < len(to.Guardrails) {
				to.Guardrails[i].Found = found
			}
		}
	}
	if set&chosenBit != 0 {
		to.Callbacks = r.Texts()
	}
	if set&factsBit != 0 && r.Err == nil {
		to.Receipt.Facts, r.Err = facts.Parse(r.B)
		r.B = nil
	}
}

// reader takes the fields of records off a body.
type reader struct{ fields.Reader }

func readerOf(body []byte) *reader { return &reader{fields.Reader{B: body}} }

func (r *reader) charges() []AccountCharge {
	n := r.Count()
	if n == 0 {
		return nil
	}
	cs := make([]AccountCharge, 0, min(n, maxList))
	for range n {
		c := AccountCharge{
			Account: resource.AccountID(r.Text()),
			Start:   resource.Time(r.Int()),
			Amount:  resource.Money(r.Int()),
		}
		if r.Err != nil {
			return nil
		}
		cs = append(cs, c)
	}
	return cs
}

func (r *reader) receipt() Receipt {
	v := Receipt{
		Step: r.Text(), Scope: r.Text(), Entity: r.Text(), Rule: r.Text(), PriceSource: r.Text(),
		Prompt: r.Int(), Completion: r.Int(), Clamped: r.Int(),
	}
	for range r.Count() {
		v.Tries = append(v.Tries, Try{
			DeploymentID: r.Text(), Provider: r.Text(), ErrorKind: r.Text(), ErrorCode: r.Text(),
			Status: int(r.Int()), Duration: time.Duration(r.Int()),
		})
		if r.Err != nil {
			break
		}
	}
	return v
}

func decodeReservation(f frame) (Reservation, error) {
	r := readerOf(f.body)
	v := Reservation{
		RequestID: r.Text(),
		Time:      resource.Time(r.Int()),
		KeyID:     r.Text(),
		TeamID:    r.Text(),
		User:      r.Text(),
		Model:     r.Text(),
		Hold:      resource.Money(r.Int()),
		Holds:     r.charges(),
	}
	if f.kind == kindReserve1 {
		return v, r.Done()
	}
	v.OrganizationID, v.ProjectID, v.UserID, v.CustomerID = r.Text(), r.Text(), r.Text(), r.Text()
	v.Tags = r.Texts()
	return v, r.Done()
}

func decodeRecord(f frame) (Record, error) {
	r := readerOf(f.body)
	v := Record{
		Number:       f.number,
		Reserved:     r.Uint(),
		RequestID:    r.Text(),
		Time:         resource.Time(r.Int()),
		KeyID:        r.Text(),
		TeamID:       r.Text(),
		User:         r.Text(),
		Model:        r.Text(),
		DeploymentID: r.Text(),
		Endpoint:     r.Text(),
		ErrorKind:    r.Text(),
		Status:       int(r.Int()),
		Usage: llm.Usage{
			Input: r.Int(), CacheRead: r.Int(), CacheWrite: r.Int(), Output: r.Int(), Reasoning: r.Int(),
			Source: llm.UsageSource(min(uint64(r.Int()), uint64(llm.UsageEstimated))),
		},
		Cost:     resource.Money(r.Int()),
		Hold:     resource.Money(r.Int()),
		Duration: time.Duration(r.Int()),
		TTFT:     time.Duration(r.Int()),
		Flags:    Flags(r.Int()),
		Charges:  r.charges(),
		Tags:     r.Texts(),
	}
	if f.kind == kindSettle1 { // had one field for both
		v.ErrorCode = v.ErrorKind
		return v, r.Done()
	}
	v.UserID, v.Provider, v.ErrorCode, v.Guardrail = r.Text(), r.Text(), r.Text(), r.Text()
	v.Attempts = int(r.Int())
	for range r.Count() {
		v.Guardrails = append(v.Guardrails, GuardrailResult{Guardrail: r.Text(), Hook: r.Text(), Status: r.Text()})
		if r.Err != nil {
			break
		}
	}
	if f.kind == kindSettle2 {
		r.more(&v)
		return v, r.Done()
	}
	v.OrganizationID, v.ProjectID, v.CustomerID, v.SessionID = r.Text(), r.Text(), r.Text(), r.Text()
	v.Receipt = r.receipt()
	r.more(&v)
	return v, r.Done()
}

// decodeReserved reads only the number of the reservation that a SETTLE body names.
func decodeReserved(body []byte) uint64 {
	r := readerOf(body)
	return r.Uint()
}

func putNumbers(b []byte, ns []uint64) []byte {
	b = binary.AppendUvarint(b, uint64(len(ns)))
	for _, n := range ns {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func decodeNumbers(body []byte) ([]uint64, error) {
	r := readerOf(body)
	n := r.Count()
	ns := make([]uint64, 0, n)
	for range n {
		ns = append(ns, r.Uint())
	}
	return ns, r.Done()
}

// AppendRecord appends the record, without its number and node, as ParseRecord reads it.
func AppendRecord(b []byte, r *Record) []byte { return putRecord(append(b, byte(kindSettle)), r) }

// ParseRecord reads what AppendRecord wrote, now or in an earlier version.
func ParseRecord(b []byte) (Record, error) {
	if len(b) == 0 || !kind(b[0]).settles() {
		return Record{}, fields.ErrShort
	}
	return decodeRecord(frame{kind: kind(b[0]), body: b[1:]})
}

// RecordTime reads no more of what AppendRecord wrote than the record's time.
func RecordTime(b []byte) (resource.Time, error) {
	if len(b) == 0 || !kind(b[0]).settles() {
		return 0, fields.ErrShort
	}
	r := readerOf(b[1:])
	r.Uint()  // the number of its reservation
	r.Bytes() // its request
	at := resource.Time(r.Int())
	return at, r.Err
}
