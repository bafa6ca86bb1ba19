// Package codec is the CBOR of commands and records: deterministic when it is written, strict
// when it is read.
package codec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/resource"
)

// enc writes CBOR core deterministic encoding (RFC 8949 §4.2.1): the same value gives the
// same bytes on every node and in every version.
var enc = func() cbor.EncMode {
	m, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic("codec: CBOR options: " + err.Error()) // fixed options are valid or the tests fail
	}
	return m
}()

// dec refuses whatever two readers could understand differently: an unknown, duplicate or
// differently cased field, an indefinite length, a tag.
var dec = func() cbor.DecMode {
	m, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		MaxArrayElements:  1 << 20,
		MaxMapPairs:       1 << 16,
		MaxNestedLevels:   32,
	}.DecMode()
	if err != nil {
		panic("codec: CBOR options: " + err.Error()) // fixed options are valid or the tests fail
	}
	return m
}()

// Raw is an item in its encoding.
type Raw = cbor.RawMessage

// Marshal gives the deterministic encoding of v.
func Marshal(v any) ([]byte, error) { return enc.Marshal(v) }

// Unmarshal reads data, in which nothing may be unknown, double or ambiguous, into v.
func Unmarshal(data []byte, v any) error { return dec.Unmarshal(data, v) }

var errNotCanonical = errors.New("is not in the deterministic encoding")

// Strict decodes data into v and refuses bytes that v would not be encoded as.
func Strict(data []byte, v any) error {
	if err := dec.Unmarshal(data, v); err != nil {
		return err
	}
	again, err := enc.Marshal(v)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, data) {
		return errNotCanonical
	}
	return nil
}

// Canonicalizer is what every resource.Record is, seen from its pointer.
type Canonicalizer[T any] interface {
	*T
	resource.Record
}

// Encoded is a record together with the bytes that its proposer encoded it as. Apply stores
// those bytes, so that nodes of different versions store the same. The zero value holds
// nothing and encodes as null.
type Encoded[T any] struct {
	raw   []byte
	value *T // of raw; nil: nobody has read it
}

// Encode encodes a record. Who proposes it needs its bytes alone: what they say is read where
// the entry is decoded.
func Encode[T any](r T) (Encoded[T], error) {
	raw, err := enc.Marshal(r)
	if err != nil {
		return Encoded[T]{}, fmt.Errorf("encode record: %w", err)
	}
	return Encoded[T]{raw: raw}, nil
}

// Raw returns the proposer's bytes, nil for the zero value; they must not be changed.
func (e Encoded[T]) Raw() []byte { return e.raw }

// Record returns the record, canonicalized, nil for the zero value and for bytes that are none; it must not
// be changed.
func (e Encoded[T]) Record() *T {
	if e.value == nil && e.raw != nil {
		_ = e.decode(e.raw) // none
	}
	return e.value
}

// Value returns the record, canonicalized. What it refers to must not be changed.
func (e Encoded[T]) Value() T {
	if r := e.Record(); r != nil {
		return *r
	}
	var zero T
	return zero
}

// MarshalCBOR gives the proposer's bytes.
func (e Encoded[T]) MarshalCBOR() ([]byte, error) {
	if e.raw == nil {
		return []byte{0xf6}, nil
	}
	return e.raw, nil
}

// UnmarshalCBOR keeps a copy of data and decodes it. It does not encode the record again to compare, as
// Strict does: the bytes are Encode's, checked by the entry's checksum, and stored as they are.
func (e *Encoded[T]) UnmarshalCBOR(data []byte) error {
	if len(data) == 1 && data[0] == 0xf6 {
		*e = Encoded[T]{}
		return nil
	}
	return e.decode(bytes.Clone(data))
}

// decode makes e of the bytes, which it keeps.
func (e *Encoded[T]) decode(raw []byte) error {
	v := new(T)
	if err := dec.Unmarshal(raw, v); err != nil {
		return err
	}
	if r, ok := any(v).(resource.Record); ok {
		r.Canonicalize()
	}
	*e = Encoded[T]{raw: raw, value: v}
	return nil
}

// MarshalJSON gives the record as the admin API does.
func (e Encoded[T]) MarshalJSON() ([]byte, error) { return json.Marshal(e.Record()) }

// Record reads a stored record and fills in what its frame holds.
func Record[T any, P Canonicalizer[T]](f frame.Value) (P, error) {
	v := P(new(T))
	if err := dec.Unmarshal(f.Payload, v); err != nil {
		return nil, fmt.Errorf("decode record: %w: %w", err, frame.ErrDamaged)
	}
	v.Canonicalize()
	v.Head().Version = f.Version
	switch r := any(v).(type) {
	case *resource.Key:
		r.Blocked = f.Flags&frame.FlagBlocked != 0
	case *resource.Team:
		r.Blocked = f.Flags&frame.FlagBlocked != 0
	case *resource.Organization:
		r.Blocked = f.Flags&frame.FlagBlocked != 0
	case *resource.Project:
		r.Blocked = f.Flags&frame.FlagBlocked != 0
	case *resource.User:
		r.Blocked = f.Flags&frame.FlagBlocked != 0
	case *resource.Customer:
		r.Blocked = f.Flags&frame.FlagBlocked != 0
	}
	return v, nil
}
