package records

import (
	"fmt"

	"github.com/conclave-llm/conclave/fsm"
)

// Batch makes one command of several.
func Batch(cmds []fsm.Command) (fsm.Batch, error) {
	b := fsm.Batch{Items: make([]fsm.Item, 0, len(cmds))}
	for _, cmd := range cmds {
		item, err := fsm.ItemOf(cmd)
		if err != nil {
			return fsm.Batch{}, fmt.Errorf("encode command: %w", err)
		}
		b.Items = append(b.Items, item)
	}
	return b, nil
}

// encoded makes a put command's record.
func encoded[R any](r *R) (fsm.Encoded[R], error) {
	e, err := fsm.EncodedOf(*r)
	if err != nil {
		return e, fmt.Errorf("encode record: %w", err)
	}
	return e, nil
}
