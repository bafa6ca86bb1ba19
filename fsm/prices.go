package fsm

import (
	"fmt"

	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// PutPrices puts the imported prices, all of them, in the place of those that its proposer
// read. A table without rows gives the built-in prices back. A node may propose it: the leader
// downloads prices where the settings say so.
type PutPrices struct {
	Prices Encoded[resource.PriceTable] `json:"prices"`
	Read   uint64                       `json:"read,omitempty"`
}

// Apply implements Command.
func (c PutPrices) Apply(tx *Tx) error {
	if n := len(c.Prices.Raw()); n > resource.MaxPriceTable+4096 {
		return &resource.Invalid{Field: "prices", Reason: fmt.Sprintf("%d bytes are too many", n)}
	}
	if rec := c.Prices.Record(); rec == nil || rec.ID != resource.PriceTableID {
		return &resource.Invalid{Field: "prices.id", Reason: "is not " + resource.PriceTableID}
	}
	_, err := putRecord[resource.PriceTable](tx, store.Prices, c.Prices, c.Read)
	return err
}
