package ratelimit

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	roundEvery  = 100 * time.Millisecond
	repeat      = 3           // rounds in which a change is told
	reportEvery = 10          // rounds, of what is held without change
	wordFor     = time.Minute // a peer that says nothing of what it holds for so long holds nothing
	retellEvery = 5           // seconds between two tellings of refunds to the tape
	turnEvery   = handover    // after which the tape's old side is of no use
)

// peer is another member.
type peer struct {
	id      string
	hash    uint64
	boot    uint64    // its run; 0: it has not spoken
	old     [4]uint64 // its runs before
	no      uint64    // of its last frame
	agreed  uint64    // the membership version under which it said that it is settled
	mute    time.Duration
	muteFor time.Duration
}

// network is the limiter's side of the rounds.
type network struct {
	round atomic.Uint64

	mu     sync.Mutex // guards the fields below
	peers  []*peer    // by index; never removed
	index  map[string]int
	frames uint64
	turned time.Duration
}

// peerLocked finds or makes the peer with the id.
func (n *network) peerLocked(id string) (int, *peer) {
	if i, ok := n.index[id]; ok {
		return i, n.peers[i]
	}
	p := &peer{id: id, hash: hashNode(id)}
	n.peers = append(n.peers, p)
	n.index[id] = len(n.peers) - 1
	return len(n.peers) - 1, p
}

func (n *network) idOf(i int) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.peers[i].id
}

func (n *network) hashOf(i int) uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.peers[i].hash
}

// muteOf is until when the peer is not asked.
func (n *network) muteOf(i int) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.peers[i].mute
}

// heard notes whether the peer has answered.
func (n *network) heard(i int, ok bool, now time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.peers[i]
	if ok {
		p.mute, p.muteFor = 0, 0
		return
	}
	p.muteFor = min(max(muteFirst, 2*p.muteFor), muteMost)
	p.mute = now + p.muteFor
}

// meet notes which run of the peer has spoken; stale: it is over.
func (l *Limiter) meet(node string, boot uint64) (i int, stale bool) {
	n := &l.net
	n.mu.Lock()
	i, p := n.peerLocked(node)
	if p.boot == boot {
		n.mu.Unlock()
		return i, false
	}
	if slices.Contains(p.old[:], boot) {
		n.mu.Unlock()
		return i, true
	}
	first := p.boot == 0
	copy(p.old[1:], p.old[:3])
	p.old[0], p.boot, p.no, p.mute, p.muteFor = p.boot, boot, 0, 0, 0
	n.mu.Unlock()
	if first {
		return i, false // what the tape says that it holds may be this run's
	}
	l.each(func(c *counter) bool {
		if len(c.peers) > i { // its requests in flight have ended with it
			p := &c.peers[i]
			p.held, p.seq, p.closed, p.askNo, p.askN = 0, 0, 0, 0, 0
		}
		return true
	})
	return i, false
}

// post is what one round tells.
type post struct {
	hints []hint
	to    []letter // by the peers' index
}

// letter is what one peer alone is told.
type letter struct {
	returns []giveBack
	reports []report
}

func (p *post) letter(i int) *letter {
	for len(p.to) <= i {
		p.to = append(p.to, letter{})
	}
	return &p.to[i]
}

// Round gives back what was borrowed in vain, and tells peers what is left here. Start calls
// it every 100 ms. Nothing that must hold depends on when it runs.
func (l *Limiter) Round() {
	now := l.cfg.Clock()
	v := l.lookAgain(now)
	l.net.round.Add(1)
	var out post
	l.each(func(c *counter) bool { return l.roundLocked(c, v, now, &out) })
	l.turn(v, now)
	l.send(v, &out)
	l.agree(v)
}

func (l *Limiter) roundLocked(c *counter, v *view, now time.Duration, out *post) bool {
	second := int64(now / time.Second)
	round := l.net.round.Load()
	c.tidyLocked(now, round)
	for _, p := range c.back {
		b := out.letter(p.peer)
		b.returns = append(b.returns, giveBack{c.id, c.dim, p.boot, p.stamp, p.n})
	}
	c.back = c.back[:0]
	recent := round-c.changed <= repeat
	if c.dim == parallel {
		for i := range c.peers {
			p := &c.peers[i]
			if p.lent() > 0 && now-p.word > wordFor {
				p.held, p.closed = 0, max(p.closed, p.askNo)
			}
			if p.shut > 0 && (recent || round%reportEvery == 0) {
				b := out.letter(i)
				b.reports = append(b.reports, c.reportLocked(i, l.words.Add(1)))
			}
		}
	}
	if c.refunded && second-c.retold >= retellEvery {
		l.retellLocked(c, second)
	}
	if c.limit >= 0 && recent {
		c.partLocked(v, c.limit)
		out.hints = append(out.hints, hint{c.id, c.dim, max(0, c.freeLocked(second))})
	}
	return !c.idleLocked(second)
}

// tidyLocked ends the loans that are over, or of no use.
func (c *counter) tidyLocked(now time.Duration, round uint64) {
	c.lots = slices.DeleteFunc(c.lots, func(o lot) bool {
		over := now >= o.until
		if o.free > 0 && (over || now-o.last >= unusedFor) {
			c.changed = round
			if c.dim != parallel {
				c.owe(portion{o.peer, o.boot, o.stamp, o.free})
				return true
			}
			o.free = 0
		}
		return over && o.free == 0 && o.inUse == 0
	})
	if c.dim != parallel {
		return
	}
	for i := range c.lots {
		if o := &c.lots[i]; o.free > 0 && (now >= o.until || now-o.last >= unusedFor) {
			o.free = 0
		}
	}
}

// reportLocked says what this node holds of the peer's part.
func (c *counter) reportLocked(i int, seq int64) report {
	return report{id: c.id, held: c.heldOf(i), closed: c.peerLocked(i).shut, seq: seq}
}

// send posts a round. The first rounds of a run are told even if there is nothing to tell, so that peers which had no answer of
// the run before ask this one at once.
func (l *Limiter) send(v *view, out *post) {
	if l.cfg.Peers == nil {
		return
	}
	if len(out.hints) == 0 && l.net.round.Load() <= repeat {
		f := l.newFrame()
		b := f.encode()
		for _, i := range v.others {
			l.cfg.Peers.Send(l.net.idOf(i), b)
		}
	}
	for hints := range slices.Chunk(out.hints, maxItems) {
		f := l.newFrame()
		f.hints = hints
		b := f.encode()
		for _, i := range v.others {
			l.cfg.Peers.Send(l.net.idOf(i), b)
		}
	}
	for i := range out.to {
		id := l.net.idOf(i)
		for part := range slices.Chunk(out.to[i].returns, maxItems) {
			f := l.newFrame()
			f.returns = part
			l.cfg.Peers.Send(id, f.encode())
		}
		for part := range slices.Chunk(out.to[i].reports, maxItems) {
			f := l.newFrame()
			f.reports = part
			l.cfg.Peers.Send(id, f.encode())
		}
	}
}

// sendReport posts one report between the rounds.
func (l *Limiter) sendReport(i int, r report) {
	if l.cfg.Peers == nil {
		return
	}
	f := l.newFrame()
	f.reports = []report{r}
	l.cfg.Peers.Send(l.net.idOf(i), f.encode())
}

func (l *Limiter) newFrame() frame {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	l.net.frames++
	return frame{boot: l.boot, no: l.net.frames}
}

// Receive takes in a frame that a member has sent.
func (l *Limiter) Receive(node string, b []byte) error {
	f, err := parseFrame(b)
	if err != nil {
		return err
	}
	i, stale := l.meet(node, f.boot)
	if stale || !l.net.fresh(i, f) {
		return nil
	}
	now := l.cfg.Clock()
	second := int64(now / time.Second)
	for k := range f.hints {
		h := &f.hints[k]
		if c := l.find(h.id); c != nil {
			p := c.peerLocked(i)
			p.left, p.known = max(0, h.left), true
			if p.left > 0 {
				p.hopeless = 0
			} else if p.hopeless <= now {
				p.hopeless = now + hopeAfter
			}
			c.mu.Unlock()
		}
	}
	for k := range f.returns {
		r := &f.returns[k]
		c := l.find(r.id)
		if c == nil {
			continue
		}
		if r.boot == l.boot && c.dim != parallel {
			c.window.advance(second)
			c.window.sub(r.stamp, r.n)
			c.refunded = true
			c.changed = l.net.round.Load()
			c.signalLocked()
		}
		c.mu.Unlock()
	}
	for k := range f.reports {
		if c := l.find(f.reports[k].id); c != nil {
			if c.dim == parallel {
				c.heedLocked(i, f.reports[k], now)
				c.changed = l.net.round.Load()
				c.signalLocked()
			}
			c.mu.Unlock()
		}
	}
	return nil
}

// fresh says that a frame was not seen before.
func (n *network) fresh(i int, f *frame) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.peers[i]
	if p.boot != f.boot || f.no <= p.no {
		return false
	}
	p.no = f.no
	return true
}

// find is the counter, locked; nil: there is none.
func (l *Limiter) find(id uint64) *counter {
	s := &l.shards[id%shardCount]
	s.mu.RLock()
	c := s.counters[id]
	s.mu.RUnlock()
	if c == nil {
		return nil
	}
	c.mu.Lock()
	if c.dead {
		c.mu.Unlock()
		return nil
	}
	return c
}
