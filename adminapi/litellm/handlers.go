package litellm

import (
	"net/http"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/litellm/fields"
	"github.com/conclave-llm/conclave/adminapi/litellm/logging"
	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
)

// kind is what LiteLLM's paths for one kind of record have in common.
type kind[R any, P records.Of[R]] struct {
	noun *records.Noun[R, P]
	id   string // LiteLLM's field of the id: "organization_id"
	ids  string // of several: "organization_ids"
	doc  func(in records.Document, now P) (records.Document, error)
	row  func(P) map[string]any
	// updated makes the answer to an update; nil: the row.
	updated func(r P, row map[string]any) any
}

// create makes a record of LiteLLM's fields.
func (k *kind[R, P]) create(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	doc, err := k.doc(in, nil)
	if err != nil {
		return err
	}
	if raw, ok := in[k.id]; ok && !records.IsNull(raw) {
		doc["id"] = raw
	}
	rec, wr, err := k.noun.Create(r.Context(), by, doc)
	if err != nil {
		return fields.Renamed(err)
	}
	return wire.Answer(w, wr, k.row(rec))
}

// update changes the record that the body names.
func (k *kind[R, P]) update(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	now, err := k.named(by, in)
	if err != nil {
		return err
	}
	return k.patch(w, r, by, now, in)
}

// updatePath changes the record that the path names.
func (k *kind[R, P]) updatePath(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	now, err := k.noun.One(by, r.PathValue("id"))
	if err != nil {
		return err
	}
	return k.patch(w, r, by, now, in)
}

func (k *kind[R, P]) patch(w http.ResponseWriter, r *http.Request, by records.Caller, now P, in records.Document) error {
	if err := logging.Refuse(in); err != nil {
		return err
	}
	patch, err := k.doc(in, now)
	if err != nil {
		return err
	}
	rec, wr, err := k.noun.Patch(r.Context(), by, now.Head().ID, 0, patch)
	if err != nil {
		return fields.Renamed(err)
	}
	row := k.row(rec)
	if k.updated != nil {
		return wire.Answer(w, wr, k.updated(rec, row))
	}
	return wire.Answer(w, wr, row)
}

// named finds the record that a body names.
func (k *kind[R, P]) named(by records.Caller, in records.Document) (P, error) {
	ref, err := fields.Text(in, k.id)
	if err != nil {
		return nil, err
	}
	if ref == "" {
		return nil, wire.Invalid(k.id, "is missing")
	}
	return k.noun.One(by, ref)
}

// block blocks or unblocks the record that the body names.
func (k *kind[R, P]) block(state client.BlockState) wire.Handler {
	return func(w http.ResponseWriter, r *http.Request, by records.Caller) error {
		in, err := wire.ReadBody(r)
		if err != nil {
			return err
		}
		now, err := k.named(by, in)
		if err != nil {
			return err
		}
		rec, wr, err := k.noun.SetBlocked(r.Context(), by, now.Head().ID, state)
		if err != nil {
			return err
		}
		return wire.Answer(w, wr, k.row(rec))
	}
}

// remove deletes the records that the body names, all of them or none.
func (k *kind[R, P]) remove(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	refs, err := fields.Refs(in, k.ids)
	if err != nil {
		return err
	}
	rows := make([]map[string]any, 0, len(refs))
	for _, ref := range refs {
		rec, err := k.noun.One(by, ref)
		if err != nil {
			return err
		}
		rows = append(rows, k.row(rec))
	}
	wr, err := k.noun.Delete(r.Context(), by, refs...)
	if err != nil {
		return err
	}
	return wire.Answer(w, wr, rows)
}

// info shows the record that the query names.
func (k *kind[R, P]) info(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	ref := r.URL.Query().Get(k.id)
	if ref == "" {
		return wire.Invalid(k.id, "is missing")
	}
	rec, err := k.noun.One(by, ref)
	if err != nil {
		return err
	}
	return wire.Answer(w, records.Written{}, k.row(rec))
}

// every collects what a sequence yields.
func every[P any](seq func(yield func(P) bool)) []P {
	var all []P
	for r := range seq {
		all = append(all, r)
	}
	return all
}
