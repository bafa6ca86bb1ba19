package records

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/resource"
)

// Document is a record as a client writes it: members not yet decoded.
type Document map[string]json.RawMessage

// ParseDocument reads a JSON object, strictly: no member stands twice.
func ParseDocument(body []byte) (Document, error) {
	var d Document
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, invalid("body", "is empty; a JSON object is expected")
	}
	if err := jsonv2.Unmarshal(body, &d); err != nil {
		return nil, invalid("body", "is not a JSON object: "+reasonOf(err))
	}
	if d == nil {
		return nil, invalid("body", "is null; a JSON object is expected")
	}
	return d, nil
}

// documentOf writes a record as a client would see it.
func documentOf(r resource.Record) (Document, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("write record: %w", err)
	}
	var d Document
	if err := json.Unmarshal(b, &d); err != nil {
		return nil, fmt.Errorf("read record: %w", err)
	}
	return d, nil
}

// DocumentOf makes a document of what JSON can say.
func DocumentOf(v any) (Document, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("write document: %w", err)
	}
	return ParseDocument(b)
}

// merge returns d with the merge patch (RFC 7396) applied.
func (d Document) merge(patch Document) (Document, error) {
	doc, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("write record: %w", err)
	}
	p, err := json.Marshal(patch)
	if err != nil {
		return nil, fmt.Errorf("write patch: %w", err)
	}
	merged, err := client.Merge(doc, p)
	if err != nil {
		return nil, fmt.Errorf("merge patch: %w", err)
	}
	return ParseDocument(merged)
}

// Take removes a member and reads it into v. An absent or null one leaves v as it is.
func (d Document) Take(name string, v any) error {
	raw, ok := d[name]
	delete(d, name)
	if !ok || IsNull(raw) {
		return nil
	}
	if err := jsonv2.Unmarshal(raw, v, jsonv2.RejectUnknownMembers(true)); err != nil {
		return invalid(name, reasonOf(err))
	}
	return nil
}

// Set writes a member.
func (d Document) Set(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	d[name] = b
	return nil
}

// Decode reads the document into a record, refusing members that the record does not have.
// A null member is an absent one.
func (d Document) Decode(r any) error {
	for name, v := range d {
		if IsNull(v) {
			delete(d, name)
		}
	}
	b, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	if err := jsonv2.Unmarshal(b, r, jsonv2.RejectUnknownMembers(true)); err != nil {
		if in, ok := errors.AsType[*resource.Invalid](err); ok {
			return in
		}
		return invalid(fieldOf(err), reasonOf(err))
	}
	return nil
}

// IsNull says whether a member is null.
func IsNull(raw json.RawMessage) bool { return string(bytes.TrimSpace(raw)) == "null" }

// fieldOf turns the JSON pointer of a decoding error into a path: "budgets[0].usd".
func fieldOf(err error) string {
	e, ok := errors.AsType[*jsonv2.SemanticError](err)
	if !ok {
		return "body"
	}
	var b strings.Builder
	for token := range e.JSONPointer.Tokens() {
		switch {
		case token != "" && strings.Trim(token, "0123456789") == "":
			b.WriteString("[" + token + "]")
		case b.Len() > 0:
			b.WriteString("." + token)
		default:
			b.WriteString(token)
		}
	}
	if b.Len() == 0 {
		return "body"
	}
	return b.String()
}

// reasonOf says what is wrong without the decoder's own names.
func reasonOf(err error) string {
	if errors.Is(err, jsonv2.ErrUnknownName) {
		return "there is no such field"
	}
	if e, ok := errors.AsType[*jsonv2.SemanticError](err); ok {
		if e.Err != nil {
			return e.Err.Error()
		}
		return "cannot be a JSON " + e.JSONKind.String()
	}
	return strings.TrimPrefix(err.Error(), "jsontext: ")
}

// Within puts a field's path in front of that of an *resource.Invalid.
func Within(field string, err error) error {
	if in, ok := errors.AsType[*resource.Invalid](err); ok {
		return invalid(field+"."+in.Field, in.Reason)
	}
	return err
}

// invalid makes an *resource.Invalid.
func invalid(field, reason string) error { return &resource.Invalid{Field: field, Reason: reason} }
