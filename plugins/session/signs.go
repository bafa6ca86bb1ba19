package session

import (
	"context"
	"errors"
	"sync/atomic"
)

// Signs are what a host hears of a plugin's process, and what it waited for in vain: by them a process that does not
// answer is told from one that is slow. The zero value has heard nothing. They may be used concurrently.
type Signs struct {
	heard    atomic.Uint64 // messages
	answered atomic.Uint64 // those of them that were not the answer to a ping
	ping     atomic.Uint64 // id of the newest; ids begin at 1
	missed   atomic.Uint64 // see Missed
}

// Ping notes the id of a question that asks for nothing but a sign of life.
func (s *Signs) Ping(id uint64) { s.ping.Store(id) }

// Hear notes a message of the plugin, with the id of what it belongs to. One that comes too late counts as well.
func (s *Signs) Hear(id uint64) {
	s.heard.Add(1)
	if id != s.ping.Load() {
		s.answered.Add(1)
		s.missed.Store(0)
	}
}

// Miss notes that ctx ended before there was an answer to a question that was asked when Answered was so. Only a deadline
// counts: that a client has left says nothing of the plugin.
func (s *Signs) Miss(ctx context.Context, answered uint64) {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && s.answered.Load() == answered {
		s.missed.Add(1)
	}
}

// Heard counts the messages that the plugin has sent.
func (s *Signs) Heard() uint64 { return s.heard.Load() }

// Answered counts those of them that were no answers to pings.
func (s *Signs) Answered() uint64 { return s.answered.Load() }

// Missed counts the questions in a row of which the whole deadline passed while no question was answered. A plugin that is
// slow, and answers one after the other within the deadline that it was given, has none.
func (s *Signs) Missed() uint64 { return s.missed.Load() }
