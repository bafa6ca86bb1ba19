package node

import (
	"time"

	"github.com/conclave-llm/conclave/adminapi/prices"
	"github.com/conclave-llm/conclave/pricing"
)

// priceTimeout bounds a download of prices.
const priceTimeout = 5 * time.Minute

// startPrices begins to download prices, if the settings say so and this node leads, and to
// read imported ones before a request needs them.
func (n *Node) startPrices() {
	n.prices = prices.New(prices.Config{
		Store: n.consensus, Catalog: n.state.Catalog, Books: &n.books, HTTP: n.priceHTTP(), Logger: n.log, Registerer: n.registry,
	})
	n.readPrices()
	n.wg.Go(n.followPrices)
	n.wg.Go(func() { n.prices.Run(n.ctx, n.identity.NodeID, n.consensus.IsLeader) })
}

// priceHTTP downloads prices.
func (n *Node) priceHTTP() pricing.Doer {
	if n.cfg.PriceHTTP != nil {
		return n.cfg.PriceHTTP
	}
	return n.egress.Client(priceTimeout)
}

// followPrices reads prices whenever some were imported.
func (n *Node) followPrices() {
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.repriced:
			n.readPrices()
		}
	}
}

// readPrices makes the book of the prices that count.
func (n *Node) readPrices() {
	if err := n.prices.Book().Err(); err != nil {
		n.log.Error("imported prices cannot be read; the built-in ones count", "error", err)
	}
}
