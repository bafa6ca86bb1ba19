package bedrock

import (
	"errors"
	"slices"
	"strconv"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

var (
	errShape  = errors.New("a member is of the wrong type")
	errNoCall = errors.New("arguments belong to no call")
)

// decoder reads the events of one stream of Converse.
type decoder struct {
	list     []chat.Chunk
	blocks   []blockState // those that need to be remembered
	calls    int
	started  bool
	finished bool
	ended    bool
	bad      bool
}

// blockState is a block that goes on.
type blockState struct {
	at   int64
	call int    // its index among the calls, -1 if it is none
	mime string // of media
}

// NewDecoder reads one stream.
func (Format) NewDecoder() chat.Decoder { return new(decoder) }

// Decode reads one event.
func (d *decoder) Decode(list []chat.Chunk, e llm.Event) ([]chat.Chunk, error) {
	if d.ended || len(e.Data) == 0 {
		return list, nil
	}
	if isException(e.Type) {
		return list, classify(noTime, 0, nil, slices.Clone(e.Data))
	}
	c := llm.NewCursor(e.Data)
	if c.Next() != '{' {
		return list, malformed(errNoObject)
	}
	d.list, d.bad = list, false
	if !d.started {
		d.started = true
		d.list = append(d.list, chat.Chunk{Type: chat.ChunkStart})
	}
	err := d.event(&c, e)
	if err == nil {
		err = c.End()
	}
	if err == nil && d.bad {
		err = errShape
	}
	if err != nil {
		return list, malformed(err)
	}
	return d.list, nil
}

// event reads one event by its type. Those that are not known say nothing.
func (d *decoder) event(c *llm.Cursor, e llm.Event) error {
	switch string(e.Type) {
	case eventBlockStart:
		d.start(c)
	case eventBlockDelta:
		return d.delta(c)
	case eventStop:
		d.stop(c)
	case eventMetadata:
		d.metadata(c, e.Data)
	default:
		c.Raw()
	}
	return nil
}

// expect notes a value that is not of the type.
func (d *decoder) expect(c *llm.Cursor, first byte) { //nolint:unparam // says at the call what is expected
	if c.Next() != first {
		d.bad = true
	}
}

func (d *decoder) text(c *llm.Cursor) string {
	if next := c.Next(); next != '"' && next != 'n' {
		d.bad = true
	}
	return c.Text()
}

// start reads the beginning of a block: of a call, or of media.
func (d *decoder) start(c *llm.Cursor) {
	b := blockState{call: -1}
	k := chat.Chunk{Type: chat.ChunkToolStart}
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "contentBlockIndex":
			b.at = d.index(c)
		case "start":
			d.expect(c, '{')
			for m := 0; c.Member(m); m++ {
				d.begun(c, &b, &k)
			}
		default:
			c.Raw()
		}
	}
	if b.call >= 0 {
		if k.ID == "" {
			k.ID = "tooluse_" + strconv.Itoa(b.call)
		}
		d.list = append(d.list, k)
	}
	d.blocks = append(d.blocks, b)
}

func (d *decoder) index(c *llm.Cursor) int64 {
	n, ok := c.Int()
	d.bad = d.bad || !ok
	return n
}

// begun reads what begins.
func (d *decoder) begun(c *llm.Cursor, b *blockState, k *chat.Chunk) {
	kind := string(c.Name())
	if kind == "toolUse" {
		b.call = d.calls
		k.Index = d.calls
		d.calls++
	} else if kind != "image" && kind != "audio" {
		c.Raw()
		return
	}
	d.expect(c, '{')
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "toolUseId":
			k.ID = d.text(c)
		case "name":
			k.Name = d.text(c)
		case "format":
			b.mime = typeOf(kind, d.text(c))
		default:
			c.Raw()
		}
	}
}

// delta reads what is added to a block. The index may stand behind it.
func (d *decoder) delta(c *llm.Cursor) error {
	at, k := int64(0), chat.Chunk{Type: chat.ChunkPing}
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "contentBlockIndex":
			at = d.index(c)
		case "delta":
			d.expect(c, '{')
			for m := 0; c.Member(m); m++ {
				d.added(c, &k)
			}
		default:
			c.Raw()
		}
	}
	block := d.block(at)
	switch {
	case k.Type == chat.ChunkPing:
		return nil
	case k.Type == chat.ChunkToolArgs && (block == nil || block.call < 0):
		return errNoCall
	case k.Type == chat.ChunkToolArgs:
		k.Index = block.call
	case k.Type == chat.ChunkMedia && block != nil:
		k.Media.MIME = block.mime
	}
	d.list = append(d.list, k)
	return nil
}

// block is the state of the block that began last at the index.
func (d *decoder) block(at int64) *blockState {
	for i := len(d.blocks) - 1; i >= 0; i-- {
		if d.blocks[i].at == at {
			return &d.blocks[i]
		}
	}
	return nil
}

// added reads the one member of a delta.
func (d *decoder) added(c *llm.Cursor, k *chat.Chunk) {
	switch string(c.Name()) {
	case "text":
		k.Type, k.Text = chat.ChunkText, d.text(c)
	case "toolUse":
		k.Type = chat.ChunkToolArgs
		d.expect(c, '{')
		for n := 0; c.Member(n); n++ {
			if string(c.Name()) == "input" {
				k.Text = d.text(c)
			} else {
				c.Raw()
			}
		}
	case "reasoningContent":
		d.expect(c, '{')
		for n := 0; c.Member(n); n++ {
			d.reasoned(c, k)
		}
	case "citation":
		raw := append([]byte{'['}, c.Raw()...)
		k.Type, k.Origin, k.Raw = chat.ChunkCitations, origin, append(raw, ']')
	case "image", "audio":
		d.media(c, k)
	default:
		c.Raw()
	}
}

func (d *decoder) reasoned(c *llm.Cursor, k *chat.Chunk) {
	switch string(c.Name()) {
	case "text":
		k.Type, k.Text = chat.ChunkReasoning, d.text(c)
	case "signature":
		k.Type, k.Text = chat.ChunkSignature, d.text(c)
	case "redactedContent":
		k.Type, k.Text = chat.ChunkRedacted, d.text(c)
	default:
		c.Raw()
	}
}

// media reads a piece of media.
func (d *decoder) media(c *llm.Cursor, k *chat.Chunk) {
	d.expect(c, '{')
	for n := 0; c.Member(n); n++ {
		if string(c.Name()) != "source" {
			c.Raw()
			continue
		}
		for m := 0; c.Member(m); m++ {
			if string(c.Name()) == "bytes" {
				k.Type, k.Media = chat.ChunkMedia, &chat.Media{Data: d.text(c)}
			} else {
				c.Raw()
			}
		}
	}
}

// stop reads why the model stopped.
func (d *decoder) stop(c *llm.Cursor) {
	k := chat.Chunk{Type: chat.ChunkFinish}
	reason := ""
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "stopReason":
			reason = d.text(c)
		case "additionalModelResponseFields":
			for m := 0; c.Member(m); m++ {
				if string(c.Name()) == "stop_sequence" {
					k.StopText = c.Text()
				} else {
					c.Raw()
				}
			}
		default:
			c.Raw()
		}
	}
	k.Finish = finishOf(reason, d.calls > 0)
	d.finished = true
	d.list = append(d.list, k)
}

// metadata reads the usage, with which a stream ends.
func (d *decoder) metadata(c *llm.Cursor, data []byte) {
	tier := ""
	for n := 0; c.Member(n); n++ {
		if string(c.Name()) != "serviceTier" {
			c.Raw()
			continue
		}
		for m := 0; c.Member(m); m++ {
			if string(c.Name()) == "type" {
				tier = c.Text()
			} else {
				c.Raw()
			}
		}
	}
	if u, ok := llm.ReadUsage(llm.DialectConverse, data); ok {
		d.list = append(d.list, chat.Chunk{Type: chat.ChunkUsage, Usage: u, Tier: tier})
	}
	if d.finished {
		d.ended = true
		d.list = append(d.list, chat.Chunk{Type: chat.ChunkEnd})
	}
}

// End ends a stream without metadata.
func (d *decoder) End(list []chat.Chunk) ([]chat.Chunk, error) {
	switch {
	case d.ended:
		return list, nil
	case !d.finished:
		return list, cut()
	}
	d.ended = true
	return append(list, chat.Chunk{Type: chat.ChunkEnd}), nil
}
