package ratelimit

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

const (
	roundEvery  = 100 * time.Millisecond
	freshFor    = 180 * time.Millisecond // a peer whose last frame is older is not visible
	lostAfter   = time.Second            // a peer that was silent so long is told everything
	repeat      = 3                      // rounds in which a change is told
	lagAllowed  = 10                     // rounds that a peer may be behind before it is told everything
	frameLimit  = 4096                   // entries
	settleAfter = 300 * time.Millisecond // after the start, peers have told what they knew
)

// peer is another member.
type peer struct {
	id      string
	hash    uint64
	boot    uint64
	round   uint64 // of its last frame
	at      time.Time
	hears   bool // its last frame said that it hears us
	behind  bool // it has missed rounds: tell it everything
	restart bool // it has started anew: tell it what we know of its last run
	told    bool // it has answered since our start
}

// view is what all counters share in one round.
type view struct {
	round   uint64
	ids     []string // of all members, as configured
	members int      // at least 1
	visible []int    // indices into peers
	me      uint64
	hashes  []uint64 // of all peers, by index
	warm    bool
}

// network is the limiter's side of the rounds.
type network struct {
	mu    sync.Mutex // guards the fields below
	peers []*peer    // by index; never removed
	index map[string]int
	round uint64
}

// peerLocked finds or makes the peer with the id.
func (n *network) peerLocked(id string) (int, *peer) {
	if i, ok := n.index[id]; ok {
		return i, n.peers[i]
	}
	p := &peer{id: id, hash: hashNode(id), behind: true}
	n.peers = append(n.peers, p)
	n.index[id] = len(n.peers) - 1
	return len(n.peers) - 1, p
}

// Round begins a round: it makes this node's claims anew and sends them to its peers.
// Start calls it every 100 ms.
func (l *Limiter) Round() {
	now := l.cfg.Now()
	v := l.look(now)
	var changed, all []entry
	l.each(func(c *counter) bool {
		c.roundLocked(v, now)
		if c.idleLocked(now.Unix()) {
			return false
		}
		e := c.entryLocked(now.Unix())
		all = append(all, e)
		if v.round-c.changed <= repeat {
			changed = append(changed, e)
		}
		return true
	})
	l.send(v, changed, all, now)
}

// look makes the view of a new round.
func (l *Limiter) look(now time.Time) *view {
	members := l.members()
	n := &l.net
	n.mu.Lock()
	defer n.mu.Unlock()
	n.round++
	v := &view{round: n.round, ids: members, members: max(1, len(members)), me: hashNode(l.cfg.NodeID)}
	warm := true
	for _, id := range members {
		if id == l.cfg.NodeID {
			continue
		}
		i, p := n.peerLocked(id)
		if now.Sub(p.at) <= freshFor && p.hears {
			v.visible = append(v.visible, i)
		}
		warm = warm && p.told
	}
	for _, p := range n.peers {
		v.hashes = append(v.hashes, p.hash)
	}
	v.warm = warm || now.Sub(l.started) >= settleAfter
	l.view.Store(v)
	return v
}

// send tells each peer what has changed, or everything.
func (l *Limiter) send(v *view, changed, all []entry, now time.Time) {
	if l.cfg.Peers == nil || v.members < 2 {
		return
	}
	type message struct {
		to string
		b  []byte
	}
	var out []message
	n := &l.net
	n.mu.Lock()
	f := frame{boot: l.boot, round: v.round, seen: n.seenLocked(now)}
	var small []byte
	for i, p := range n.peers {
		if !slices.Contains(v.ids, p.id) {
			continue
		}
		if !p.behind && !p.restart {
			if small == nil {
				f.entries, f.yours = changed[:min(len(changed), frameLimit)], nil
				small = f.encode()
			}
			out = append(out, message{p.id, small})
			continue
		}
		g := f
		g.entries, g.yours = all[:min(len(all), maxEntries)], nil
		if p.restart {
			g.yours = l.knownOf(i, now.Unix())
		}
		p.behind, p.restart = false, false
		out = append(out, message{p.id, g.encode()})
	}
	n.mu.Unlock()
	for _, m := range out {
		l.cfg.Peers.Send(m.to, m.b)
	}
}

// seenLocked lists the peers that this node hears.
func (n *network) seenLocked(now time.Time) (seen []sighting) {
	for _, p := range n.peers {
		if now.Sub(p.at) <= freshFor {
			seen = append(seen, sighting{p.hash, p.round})
		}
	}
	return seen
}

// tellOwner tells the owner of a small limit between the rounds that a request has ended.
func (l *Limiter) tellOwner(e entry) {
	v := l.view.Load()
	owner := l.ownerOf(e.id, v.ids)
	if v.members < 2 || owner == l.cfg.NodeID || l.cfg.Peers == nil {
		return
	}
	l.net.mu.Lock()
	f := frame{boot: l.boot, round: l.net.round, seen: l.net.seenLocked(l.cfg.Now()), entries: []entry{e}}
	l.net.mu.Unlock()
	l.cfg.Peers.Send(owner, f.encode())
}

// knownOf lists what the peer admitted before it started anew.
func (l *Limiter) knownOf(i int, second int64) (es []entry) {
	l.each(func(c *counter) bool {
		if len(c.peers) > i && c.peers[i].ring != nil {
			r := c.peers[i].ring
			r.advance(second)
			if r.sum > 0 && len(es) < maxEntries {
				es = append(es, entry{id: c.id, dim: c.dim, window: r.sum})
			}
		}
		return true
	})
	return es
}

// Receive takes in a frame that a member has sent. The frames of one sender come in order.
func (l *Limiter) Receive(node string, b []byte) error {
	f, err := parseFrame(b)
	if err != nil {
		return err
	}
	now := l.cfg.Now()
	i, reborn, ok := l.hear(node, f, now)
	if !ok {
		return nil
	}
	second := now.Unix()
	if reborn {
		l.each(func(c *counter) bool {
			if len(c.peers) > i {
				p := &c.peers[i]
				p.total, p.heard, p.claim, p.demand, p.seq = 0, false, 0, [2]int64{}, 0
			}
			return true
		})
	}
	for k := range f.entries {
		c := l.lock(f.entries[k].id, f.entries[k].dim)
		if c.changed == 0 { // tell the peers that this node claims little of it
			c.changed = l.roundNow()
		}
		c.hearLocked(i, &f.entries[k], second)
		if c.dim == parallel {
			c.signalLocked()
		}
		c.mu.Unlock()
	}
	for k := range f.yours {
		c := l.lock(f.yours[k].id, f.yours[k].dim)
		c.restoreLocked(f.yours[k].window, second)
		c.mu.Unlock()
	}
	return nil
}

// hear notes that the peer has spoken.
func (l *Limiter) hear(node string, f *frame, now time.Time) (i int, reborn, ok bool) {
	n := &l.net
	n.mu.Lock()
	defer n.mu.Unlock()
	i, p := n.peerLocked(node)
	if p.boot == f.boot && f.round < p.round {
		return i, false, false
	}
	reborn = p.boot != f.boot
	p.restart = p.restart || reborn
	p.behind = p.behind || reborn || now.Sub(p.at) > lostAfter
	p.boot, p.round, p.at = f.boot, f.round, now
	p.hears = false
	me := hashNode(l.cfg.NodeID)
	for _, s := range f.seen {
		if s.node == me {
			p.hears = s.round <= n.round
			p.behind = p.behind || s.round+lagAllowed < n.round
			// Its first frame after hearing us holds what it knows of our last run.
			p.told = p.told || p.hears
		}
	}
	return i, reborn, true
}

// roundLocked makes the counter's claim for the next round.
func (c *counter) roundLocked(v *view, now time.Time) {
	c.sent = [2]int64{c.admitted + c.waiting, c.sent[0]}
	if c.sent[0] != 0 || c.sent[1] != 0 {
		c.changed = v.round
	}
	c.admitted = 0
	if c.limit < 0 || v.members < 2 {
		c.claim = c.idle()
		c.least = 0
		return
	}
	before := c.claim
	second := now.Unix()
	room, share := c.roomLocked(v, second), c.shareLocked(v, second)
	c.claim = max(0, min(room, share))
	c.opened = true
	if c.claim != before {
		c.changed = v.round
	}
	if c.waiting > 0 || c.wake != nil {
		c.signalLocked()
	}
}

// leftLocked is what may still be admitted: of the limit, by the counts of all, and of the
// part of the limit that the visible nodes may use, by their own. Parts of two sides of a
// partition sum up to the limit, so both together stay below it.
func (c *counter) leftLocked(v *view, second int64) int64 {
	known := c.knownLocked(second)
	hidden := int64(0)
	for i := range c.peers {
		p := &c.peers[i]
		if slices.Contains(v.visible, i) {
			continue
		}
		if c.dim == parallel {
			hidden += p.total
		} else if p.ring != nil {
			p.ring.advance(second)
			hidden += p.ring.sum
		}
	}
	part := c.limit * int64(len(v.visible)+1) / int64(v.members)
	return min(c.limit-known, part-(known-hidden))
}

// opening is what a node may admit of a limit that it has not spoken of.
func (c *counter) opening(v *view) int64 {
	return max(1, c.limit/int64(2*v.members))
}

// idle is the claim of a node that has no demand while others have: one request, so that
// its next one need not wait.
func (c *counter) idle() int64 {
	if c.dim != requests && c.dim != parallel {
		return 0 // one token is of no use
	}
	return 1
}

// roomLocked is what the counts and the others' claims leave over.
func (c *counter) roomLocked(v *view, second int64) int64 {
	room := c.leftLocked(v, second)
	for _, i := range v.visible {
		if len(c.peers) > i && c.peers[i].heard {
			room -= c.peers[i].claim
		} else {
			room -= c.opening(v)
		}
	}
	return room
}

// shareLocked is this node's part of what is left, by the demand of the last rounds.
func (c *counter) shareLocked(v *view, second int64) int64 {
	left := c.leftLocked(v, second)
	mine := min(c.sent[0], c.sent[1]) // the others surely know of it
	sum, idle := mine, int64(0)
	rivals := []uint64{}
	for _, i := range v.visible {
		d := int64(0)
		if len(c.peers) > i {
			d = max(c.peers[i].demand[0], c.peers[i].demand[1])
		}
		if d == 0 {
			idle++
			continue
		}
		sum += d
		rivals = append(rivals, v.hashes[i])
	}
	if sum == 0 {
		return max(1, left/int64(2*(len(v.visible)+1)))
	}
	if mine == 0 {
		return c.idle()
	}
	left -= idle * c.idle()
	rank := int64(rankOf(c.id, v.me, rivals, second))
	share := left / sum * mine
	share += left % sum * mine / sum
	if left > 0 && rank < left-floorSum(left, sum, mine, c, v) {
		share++
	}
	if c.least > share { // nobody's part is enough for its request: one takes all
		if rank == 0 {
			return min(left, c.least)
		}
		return 0
	}
	return share
}

// floorSum is what the rounded down parts of all nodes sum up to.
func floorSum(left, sum, mine int64, c *counter, v *view) int64 {
	part := func(d int64) int64 { return left/sum*d + left%sum*d/sum }
	n := part(mine)
	for _, i := range v.visible {
		if len(c.peers) > i {
			n += part(max(c.peers[i].demand[0], c.peers[i].demand[1]))
		}
	}
	return n
}

// rankOf is this node's place among its rivals, which moves every second.
func rankOf(id, me uint64, rivals []uint64, second int64) int {
	mine, rank := mix(id^uint64(second), me), 0
	for _, r := range rivals {
		if cmp.Compare(mix(id^uint64(second), r), mine) < 0 {
			rank++
		}
	}
	return rank
}
