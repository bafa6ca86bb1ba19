package fsm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"github.com/conclave-llm/conclave/resource"
)

// enc writes CBOR core deterministic encoding (RFC 8949 §4.2.1): the same value gives the
// same bytes on every node and in every version.
var enc = func() cbor.EncMode {
	m, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic("fsm: CBOR options: " + err.Error()) // fixed options are valid or the tests fail
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
		panic("fsm: CBOR options: " + err.Error()) // fixed options are valid or the tests fail
	}
	return m
}()

var errNotCanonical = errors.New("is not in the deterministic encoding")

// decodeStrict decodes data into v and refuses bytes that v would not be encoded as.
func decodeStrict(data []byte, v any) error {
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

// canonicalizer is what every resource.Record is, seen from its pointer.
type canonicalizer[T any] interface {
	*T
	resource.Record
}

// Encoded is a record together with the bytes that its proposer encoded it as. Apply stores
// those bytes, so that nodes of different versions store the same. The zero value holds
// nothing and encodes as null.
type Encoded[T any] struct {
	raw   []byte
	value *T
}

// EncodedOf encodes a record.
func EncodedOf[T any](r T) (Encoded[T], error) {
	raw, err := enc.Marshal(r)
	if err != nil {
		return Encoded[T]{}, fmt.Errorf("encode record: %w", err)
	}
	var e Encoded[T]
	if err := e.UnmarshalCBOR(raw); err != nil {
		return Encoded[T]{}, fmt.Errorf("encode record: %w", err)
	}
	return e, nil
}

// Value returns the record, canonicalized. What it refers to must not be changed.
func (e Encoded[T]) Value() T {
	if e.value == nil {
		var zero T
		return zero
	}
	return *e.value
}

// MarshalCBOR gives the proposer's bytes.
func (e Encoded[T]) MarshalCBOR() ([]byte, error) {
	if e.raw == nil {
		return []byte{0xf6}, nil
	}
	return e.raw, nil
}

// UnmarshalCBOR keeps a copy of data and decodes it, strictly.
func (e *Encoded[T]) UnmarshalCBOR(data []byte) error {
	if len(data) == 1 && data[0] == 0xf6 {
		*e = Encoded[T]{}
		return nil
	}
	v := new(T)
	if err := decodeStrict(data, v); err != nil {
		return err
	}
	if r, ok := any(v).(resource.Record); ok {
		r.Canonicalize()
	}
	*e = Encoded[T]{raw: bytes.Clone(data), value: v}
	return nil
}

// MarshalJSON gives the record as the admin API does.
func (e Encoded[T]) MarshalJSON() ([]byte, error) { return json.Marshal(e.value) }
