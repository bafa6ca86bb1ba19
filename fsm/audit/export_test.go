package audit

import "github.com/conclave-llm/conclave/fsm/codec"

// What the tests look at by itself.
var (
	Render = render
	Hide   = hide
)

// DocumentOf is the document of a new record.
func DocumentOf(record any) (codec.Raw, error) {
	b, err := codec.Marshal(record)
	if err != nil {
		return nil, err
	}
	_, _, doc, err := Diff(nil, b)
	return doc, err
}

// Shown says whether records of the kind are shown as the admin API does.
func Shown(kind string) bool { return records[kind] != nil }
