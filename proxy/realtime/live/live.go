// Package live holds a session with Google's Live API for one with OpenAI's Realtime API: what a client's
// events ask for is said in Google's words, and what Google answers comes as events of OpenAI's.
//
//	live.go    the session
//	setup.go   how a session is configured, once, before its first words
//	client.go  a client's events in Google's words
//	server.go  Google's messages as events
//
// Google is told nothing that makes it work before response.create, but audio, whose ends it finds by
// itself where the session says so. The formats are those of the reference of 2026 (BidiGenerateContent).
package live

import (
	"sync"

	"github.com/conclave-llm/conclave/proxy/realtime/peer"
)

// Conn is a session. One goroutine may read while another writes.
type Conn struct {
	*peer.Conn
	set chan struct{} // closed when the provider has taken the setup

	mu      sync.Mutex // guards what follows
	config  object
	model   string
	begun   bool // the setup was sent
	ready   bool // and taken
	pending pending
	turns   peer.Turns
}

// object is a JSON object.
type object = peer.Object

// New makes a session of a connection on which nothing was said. model is its name at the provider. Close
// must be called.
func New(to peer.Socket, model string) *Conn {
	c := &Conn{
		model: model, set: make(chan struct{}),
		config: object{"type": "realtime", "object": "realtime.session", "model": model, "output_modalities": []any{"audio"}},
	}
	c.Conn = peer.New(to, c.take)
	c.turns.Conn = c.Conn
	c.Event("session.created", object{"session": c.config})
	return c
}
