package oauth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

// The times in which a person has to act.
const (
	ticketLasts = 15 * time.Minute
	stateLasts  = 10 * time.Minute
)

// errNote is why a note is refused; it says nothing of what is in it.
var errNote = errors.New("the link is not the gateway's, or its time is over: ask again")

// note is what leaves the cluster sealed and comes back: a ticket, by which a person begins, or
// the state of his permission.
type note struct {
	What     string        `json:"what"`
	Server   string        `json:"server"`
	Holder   string        `json:"holder"`
	For      string        `json:"for,omitempty"` // the holder, as the page names him
	Until    resource.Time `json:"until"`
	Verifier string        `json:"verifier,omitempty"`
	Redirect string        `json:"redirect,omitempty"`
	Cookie   string        `json:"cookie,omitempty"` // of the browser that began
}

const (
	isTicket = "ticket"
	isState  = "state"
)

// write seals a note.
func (c *Client) write(n note) (string, error) {
	b, err := json.Marshal(n)
	if err != nil {
		return "", err
	}
	s, err := c.cfg.Sealer.Seal(secret.New(string(b)), "mcp_note", n.What, field)
	if err != nil {
		return "", err
	}
	return s.DEK + "." + base64.RawURLEncoding.EncodeToString(s.Box), nil
}

// read opens a note of the kind that is not too old.
func (c *Client) read(text, what string) (n note, err error) {
	dek, box, ok := strings.Cut(text, ".")
	raw, err := base64.RawURLEncoding.DecodeString(box)
	if !ok || err != nil || len(text) > 8<<10 {
		return n, errNote
	}
	plain, err := c.cfg.Sealer.Open(&resource.Sealed{DEK: dek, Box: raw}, "mcp_note", what, field)
	if err != nil || json.Unmarshal([]byte(plain.Reveal()), &n) != nil || n.What != what || n.Until <= resource.At(c.cfg.Now()) {
		return note{}, errNote
	}
	return n, nil
}

// Ticket makes a link's secret part, with which a holder's person begins.
func (c *Client) Ticket(serverID, holder, shown string) (string, error) {
	return c.write(note{What: isTicket, Server: serverID, Holder: holder, For: shown, Until: resource.At(c.cfg.Now().Add(ticketLasts))})
}

// Ticketed says what a ticket is for.
func (c *Client) Ticketed(ticket string) (serverID, holder, shown string, err error) {
	n, err := c.read(ticket, isTicket)
	return n.Server, n.Holder, n.For, err
}
