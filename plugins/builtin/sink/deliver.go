package sink

import (
	"context"
	"errors"
	"fmt"

	"github.com/conclave-llm/conclave/plugins/sdk"
)

// Send brings records to a server as one and says how many of them, from the first, it has. With a
// *Rejected error, none of them: if it is one record it is refused for good, else those are looked for
// that the server does not like. With an *sdk.CallbackRefused, the record behind is refused.
type Send func(ctx context.Context, records []sdk.Record) (taken int, err error)

// Deliver brings records in batches of at most so many. It implements sdk.Callback's Deliver.
func Deliver(ctx context.Context, records []sdk.Record, batch int, send Send) (int, error) {
	done := 0
	for done < len(records) {
		n, err := deliver(ctx, records[done:min(len(records), done+batch)], send)
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
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
