package sink

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/conclave-llm/conclave/plugins/sdk"
)

// Send brings records to a server as one and says how many of them, from the first, it has. With a
// *Rejected error, none of them: if it is one record it is refused for good, else those are looked for
// that the server does not like. With an *sdk.CallbackRefused, the record behind is refused.
type Send func(ctx context.Context, records []sdk.Record) (taken int, err error)

// parallel is how many requests to one server are under way at a time, where their order does not matter.
const parallel = 16

// Deliver brings records in batches of at most so many, one batch after the other. A server that takes one
// record a request would be slow so: batches of one go as those of Unordered do. It implements sdk.Callback's
// Deliver.
func Deliver(ctx context.Context, records []sdk.Record, batch int, send Send) (int, error) {
	if batch == 1 {
		return Unordered(ctx, records, 1, send)
	}
	return deliverAll(ctx, records, batch, 1, send)
}

// Unordered brings records in batches of at most so many, several at a time, for which send is called
// concurrently. What it says to be delivered are the first records nevertheless; of those behind them some may
// be at the server, too, and come again.
func Unordered(ctx context.Context, records []sdk.Record, batch int, send Send) (int, error) {
	return deliverAll(ctx, records, batch, parallel, send)
}

// deliverAll has at most so many batches under way. They are begun in order, and none after one has failed, so
// that all before the first that failed are delivered.
func deliverAll(ctx context.Context, records []sdk.Record, batch, lanes int, send Send) (int, error) {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex     // guards what follows
		next int            // record with which the next batch begins
		done = len(records) // records before the first that failed
		why  error          // it failed
	)
	begin := func() (from, to int) {
		mu.Lock()
		defer mu.Unlock()
		if why != nil {
			return 0, 0
		}
		from, next = next, min(len(records), next+batch)
		return from, next
	}
	for range min(lanes, (len(records)+batch-1)/batch) {
		wg.Go(func() {
			for from, to := begin(); from < to; from, to = begin() {
				n, err := deliver(ctx, records[from:to], send)
				mu.Lock()
				if err != nil && from+n < done {
					done, why = from+n, err
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return done, why
}

// deliver brings one batch, and the halves of it if the server will not take it.
func deliver(ctx context.Context, records []sdk.Record, send Send) (int, error) {
	n, err := send(ctx, records)
	rejected, ok := errors.AsType[*Rejected](err)
	switch {
	case !ok && err == nil && n < len(records):
		return n, fmt.Errorf("the server took %d of %d records", n, len(records))
	case !ok:
		return n, err
	case len(records) == 1:
		return 0, &sdk.CallbackRefused{Reason: rejected.Error()}
	}
	half := len(records) / 2
	if n, err = deliver(ctx, records[:half], send); err != nil {
		return n, err
	}
	n, err = deliver(ctx, records[half:], send)
	return half + n, err
}

// Post is a Send of what encode makes of records.
func Post(c *Client, encode func(records []sdk.Record) (*Request, error)) Send {
	return func(ctx context.Context, records []sdk.Record) (int, error) {
		r, err := encode(records)
		if err != nil {
			return 0, err
		}
		if _, err := c.Do(ctx, r); err != nil {
			return 0, err
		}
		return len(records), nil
	}
}
