package resource

// Timeouts are the timers of an attempt beside that of the whole, in milliseconds. 0 inherits: a
// deployment's from its model, a model's from the settings of the same names, those the default.
type Timeouts struct {
	ConnectMS       int64 `json:"connect_timeout_ms,omitempty"`        // to a connection, TLS included; default 10 s
	FirstTokenMS    int64 `json:"first_token_timeout_ms,omitempty"`    // of streams, from the start; default: as between chunks, from the header on
	BetweenChunksMS int64 `json:"between_chunks_timeout_ms,omitempty"` // of an answer that has begun; default 2 minutes
}

func (t *Timeouts) validate() error {
	if err := validTimeout("connect_timeout_ms", t.ConnectMS); err != nil {
		return err
	}
	if err := validTimeout("first_token_timeout_ms", t.FirstTokenMS); err != nil {
		return err
	}
	return validTimeout("between_chunks_timeout_ms", t.BetweenChunksMS)
}

// Disconnect is what becomes of an attempt whose client has left.
type Disconnect string

// What becomes of it. The zero value is DisconnectCancel.
const (
	DisconnectCancel Disconnect = "cancel" // the provider is told to stop; usage is what it reported, else estimated
	DisconnectDrain  Disconnect = "drain"  // the answer is read to its end, so that usage is the provider's
)

func (d Disconnect) validate() error {
	switch d {
	case "", DisconnectCancel, DisconnectDrain:
		return nil
	}
	return invalidf("on_disconnect", "%q is not cancel or drain", string(d))
}

// StreamTimeout are the timers that LiteLLM's stream_timeout of so many milliseconds stands for:
// it bounds each wait for a piece of a stream.
func StreamTimeout(ms int64) Timeouts { return Timeouts{FirstTokenMS: ms, BetweenChunksMS: ms} }
