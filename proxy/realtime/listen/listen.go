// Package listen holds a session in which a provider transcribes what it hears, in words of its own, for a
// session of OpenAI's Realtime API of the type "transcription": a client appends audio, and gets what was
// said, turn by turn, with how long the audio was.
//
//	listen.go  the session, and the events that the provider's words become
//	client.go  a client's events
//	soniox.go  Soniox's words
//	meta.go    Meta's
//
// A session is configured once, before its first audio. Nothing is answered: response.create is refused.
package listen

import (
	"context"
	"sync"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/realtime/peer"
)

// Dialect is how a provider is asked and what it says. It belongs to one session, whose lock is held when
// its methods are called.
type Dialect interface {
	// Setup is the first message, for the configuration of a session; nothing else is said before audio.
	// Its error says what of the configuration the provider has nothing for.
	Setup(s *Setup) (peer.Object, error)
	// Acknowledged says that audio may follow only when the provider has answered the setup.
	Acknowledged() bool
	// Commit is the message that ends a turn; nil: the provider finds the ends itself.
	Commit() peer.Object
	// Keep is the message that keeps a connection open on which nothing is heard; nil: there is none.
	Keep() peer.Object
	// Take reads a message. Its error, an *llm.Error, ends the session.
	Take(message []byte) ([]Said, error)
}

// Setup is how a session is configured.
type Setup struct {
	Format   string // "audio/pcm" (16 bits, little-endian), "audio/pcmu" or "audio/pcma"
	Rate     int    // Hz
	Language string // ISO 639-1; "": unknown
	Prompt   string
	Manual   bool // the client says where a turn ends
}

// Kind is what a provider's message means.
type Kind uint8

// The kinds.
const (
	Ready    Kind = iota // the setup was taken
	Heard                // so much audio was heard, in all
	Begins               // the user began to speak
	Adds                 // a piece of what was said, which stays
	Ends                 // the user stopped
	Complete             // all that was said in the turn; its text was in pieces if Text is ""
)

// Said is one thing that a message means.
type Said struct {
	Kind Kind
	Turn int64  // that it is about
	Text string // of Adds and Complete
	MS   int64  // of Heard, Begins and Ends: since the session's first audio
}

// turn is one that is not complete.
type turn struct {
	id        string // of the item
	text      string
	committed bool
	ordered   bool // the client asked for its end
}

// Conn is a session. One goroutine may read while another writes.
type Conn struct {
	*peer.Conn
	words Dialect
	set   chan struct{} // closed when audio may be sent

	mu     sync.Mutex // guards what follows
	config peer.Object
	begun  bool // the setup was sent
	turns  map[int64]*turn
	now    int64  // the turn to which audio that is sent belongs
	before string // the item before
	heard  int64  // milliseconds, as the provider counts
	booked int64  // of those, what the turns that are complete were told to have taken
}

// maxTurns bounds the turns of a session that are not complete.
const maxTurns = 256

// New makes a session of a connection on which nothing was said. Close must be called.
func New(to peer.Socket, model string, words Dialect) *Conn {
	c := &Conn{words: words, set: make(chan struct{}), turns: map[int64]*turn{}, config: peer.Object{
		"type": "transcription", "object": "realtime.transcription_session", "model": model,
		"audio": peer.Object{"input": peer.Object{
			"format":         peer.Object{"type": "audio/pcm", "rate": float64(defaultRate)},
			"transcription":  peer.Object{},
			"turn_detection": peer.Object{"type": "server_vad", "create_response": false},
		}},
	}}
	c.Conn = peer.New(to, c.take)
	c.Event("session.created", peer.Object{"session": c.config})
	return c
}

// Ping finds out whether the provider is still there, and tells it that the session is.
func (c *Conn) Ping(ctx context.Context) error {
	c.mu.Lock()
	keep := c.words.Keep()
	begun := c.begun
	c.mu.Unlock()
	if begun && keep != nil {
		if err := c.Say(ctx, keep); err != nil {
			return err
		}
	}
	return c.Conn.Ping(ctx)
}

// Unbooked is what the provider has heard and no transcript was told to have taken.
func (c *Conn) Unbooked() llm.Usage {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := llm.Usage{}
	if ms := c.heard - c.booked; ms > 0 {
		c.booked = c.heard
		u.Units.InputMS, u.Source = ms, llm.UsageProvider
	}
	return u
}

// take reads a message of the provider's.
func (c *Conn) take(message []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	all, err := c.words.Take(message)
	if err != nil {
		return err
	}
	for i := range all {
		if err := c.said(&all[i]); err != nil {
			return err
		}
	}
	return nil
}

// said makes events of one thing.
func (c *Conn) said(s *Said) error {
	switch s.Kind {
	case Ready:
		c.begins()
		return nil
	case Heard:
		if s.MS > c.heard && s.MS <= llm.MaxTokenCount {
			c.heard = s.MS
		}
		return nil
	}
	t, err := c.turn(s.Turn)
	if err != nil {
		return err
	}
	switch s.Kind {
	case Begins:
		c.Event("input_audio_buffer.speech_started", peer.Object{"audio_start_ms": s.MS, "item_id": t.id})
	case Ends:
		c.Event("input_audio_buffer.speech_stopped", peer.Object{"audio_end_ms": s.MS, "item_id": t.id})
		c.commit(t)
	case Adds:
		t.text += s.Text
		c.Event("conversation.item.input_audio_transcription.delta", peer.Object{"item_id": t.id, "content_index": 0, "delta": s.Text})
	case Complete:
		c.complete(s, t)
	}
	return nil
}

// begins lets audio go.
func (c *Conn) begins() {
	select {
	case <-c.set:
	default:
		close(c.set)
	}
}

// turn is one that is not complete, which is begun if it is not there.
func (c *Conn) turn(n int64) (*turn, error) {
	t := c.turns[n]
	if t == nil {
		if len(c.turns) >= maxTurns {
			return nil, &llm.Error{Kind: llm.Upstream, Code: "invalid_response", Message: "The provider began too many turns without ending them."}
		}
		t = &turn{id: c.ID("item_")}
		c.turns[n] = t
	}
	return t, nil
}

// commit tells that a turn has become an item.
func (c *Conn) commit(t *turn) {
	if t.committed {
		return
	}
	t.committed = true
	var before any
	if c.before != "" {
		before = c.before
	}
	c.Event("input_audio_buffer.committed", peer.Object{"item_id": t.id, "previous_item_id": before})
	c.before = t.id
}

// complete tells all that was said in a turn. One without words is told of only if the client asked for it.
func (c *Conn) complete(s *Said, t *turn) {
	delete(c.turns, s.Turn)
	if s.Turn >= c.now {
		c.now = s.Turn + 1
	}
	text := s.Text
	if text == "" {
		text = t.text
	}
	if text == "" && !t.ordered {
		return
	}
	c.commit(t)
	ms := max(c.heard-c.booked, 0)
	c.booked += ms
	c.Event("conversation.item.input_audio_transcription.completed", peer.Object{
		"item_id": t.id, "content_index": 0, "transcript": text, "usage": peer.Object{"type": "duration", "seconds": float64(ms) / 1000},
	})
}
