package ratelimit

import (
	"slices"
	"time"
)

const (
	// handover is how long a part that has grown stays as it was: as long as what others
	// admitted on it counts, and some for those that hear of the change late.
	handover = (span + 9) * time.Second
	lookFor  = 250 * time.Millisecond // a view that is older, or has no members, is made anew before it is used
)

// view is who the members are, as all counters see it.
type view struct {
	version uint64 // another one after each change; never 0
	ids     []string
	hashes  []uint64 // of ids
	me      uint64
	sum     uint64 // names the set of members
	others  []int  // indices of the other members
	past    []past // members of the last handover
	left    bool   // some of past are no members any more
	at      time.Duration
}

// past is who the members were.
type past struct {
	hashes []uint64
	until  time.Duration
}

// nobody is a membership in which this node has no part.
var nobody = []uint64{0}

// partOf is this node's part of the limit. Unless the others have confirmed to keep to
// theirs, it is not more than it was among the members of the last minute.
func (v *view) partOf(id uint64, limit int64, agreed bool) int64 {
	n := share(id, v.me, v.hashes, limit)
	if agreed && !v.left {
		return n
	}
	for i := range v.past {
		n = min(n, share(id, v.me, v.past[i].hashes, limit))
	}
	return n
}

// share divides the limit among members, alike on all nodes; what does not divide goes to
// those that rendezvous hashing ranks first, one each.
func share(id, me uint64, members []uint64, limit int64) int64 {
	if !slices.Contains(members, me) {
		return 0
	}
	n := int64(len(members))
	rest := limit % n
	if rest == 0 {
		return limit / n
	}
	rank, mine := int64(0), mix(id, me)
	for _, m := range members {
		if w := mix(id, m); w < mine || w == mine && m < me {
			rank++
		}
	}
	if rank < rest {
		return limit/n + 1
	}
	return limit / n
}

// look returns the view, made anew if it is old. One without members is made anew at once: no node has a part in it, so it would
// refuse whatever comes until the next round.
func (l *Limiter) look(now time.Duration) *view {
	if v := l.view.Load(); v != nil && len(v.ids) > 0 && now-v.at < lookFor {
		return v
	}
	return l.lookAgain(now)
}

// lookAgain makes the view anew.
func (l *Limiter) lookAgain(now time.Duration) *view {
	ids := l.members()
	n := &l.net
	n.mu.Lock()
	defer n.mu.Unlock()
	old := l.view.Load()
	v := &view{me: hashNode(l.cfg.NodeID), at: now, ids: ids, version: 1}
	for _, id := range ids {
		h := hashNode(id)
		v.hashes = append(v.hashes, h)
		v.sum += mix(h, uint64(len(ids)))
		if id != l.cfg.NodeID {
			i, _ := n.peerLocked(id)
			v.others = append(v.others, i)
		}
	}
	if old == nil {
		v.past = l.pastAtStart(v, now)
	} else {
		v.version = old.version
		v.past = slices.DeleteFunc(slices.Clone(old.past), func(p past) bool { return p.until <= now })
		switch {
		case v.sum == old.sum:
		case len(old.ids) == 0: // the members were not known yet
			v.past = l.pastAtStart(v, now)
		default:
			v.past = append(v.past, past{old.hashes, now + handover})
		}
		if v.sum != old.sum || len(v.past) != len(old.past) {
			v.version++
		}
	}
	for i := range v.past {
		for _, h := range v.past[i].hashes {
			v.left = v.left || h != 0 && !slices.Contains(v.hashes, h)
		}
	}
	if len(ids) > 0 && (old == nil || v.version != old.version) {
		l.keepMembers(v)
	}
	l.view.Store(v)
	return v
}

// agree asks the other members whether they keep to their parts, each in all limits. Once all
// do, so may this node: its part is in force before its handover is over.
func (l *Limiter) agree(v *view) {
	if len(v.past) == 0 || v.left || l.cfg.Peers == nil {
		return
	}
	for _, i := range v.others {
		now := l.cfg.Clock()
		if l.net.agreed(i, 0) == v.version || now < l.net.muteOf(i) {
			continue
		}
		q := question{boot: l.boot, dim: requests, members: v.sum, no: l.words.Add(1)}
		a, ok := l.ask(l.net.idOf(i), &q, askAtMost, func(*answer) {})
		l.net.heard(i, ok, l.cfg.Clock())
		if ok && a.settled && a.members == v.sum {
			l.net.agreed(i, v.version)
		}
	}
	n := &l.net
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, i := range v.others {
		if n.peers[i].agreed != v.version {
			return
		}
	}
	if now := l.view.Load(); now.version == v.version {
		after := *now
		after.past, after.version = nil, now.version+1
		l.keepMembers(&after)
		l.view.Store(&after)
	}
}

// settled says that this node admits no more than its part of any limit, and has for a minute.
func (l *Limiter) settled(v *view, now time.Duration) bool {
	if v.left || len(v.ids) == 0 {
		return false
	}
	second, all := int64(now/time.Second), true
	l.each(func(c *counter) bool {
		if c.limit < 0 { // from the tape, and not yet asked for
			c.window.advance(second)
			all = all && c.window.sum == 0
			for i := range c.peers {
				all = all && c.peers[i].lent() == 0
			}
			return true
		}
		c.partLocked(v, c.limit)
		all = all && c.freeLocked(second) >= 0
		return true
	})
	return all
}

// agreed returns the membership version that the peer agreed to, after setting it unless
// version is 0.
func (n *network) agreed(i int, version uint64) uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	if version != 0 {
		n.peers[i].agreed = version
	}
	return n.peers[i].agreed
}

// pastAtStart is who the members were before this node started, by its tape. A node that has
// none is new, and had no part, unless it is alone.
func (l *Limiter) pastAtStart(v *view, now time.Duration) []past {
	if len(l.before.now) == 0 {
		if len(v.ids) <= 1 {
			return nil
		}
		return []past{{nobody, now + handover}}
	}
	out := slices.DeleteFunc(slices.Clone(l.before.old), func(p past) bool { return p.until <= now })
	if !slices.Equal(slices.Sorted(slices.Values(l.before.now)), slices.Sorted(slices.Values(v.hashes))) {
		out = append(out, past{l.before.now, now + handover})
	}
	return out
}

// handingOver is 1 while the members of the last minute count, for the metrics.
func (l *Limiter) handingOver() float64 {
	if v := l.view.Load(); v != nil && len(v.ids) > 0 && len(v.past) == 0 {
		return 0
	}
	return 1
}

// members are the ids of all members; without configured ones, this node alone.
func (l *Limiter) members() []string {
	if l.cfg.Members == nil {
		return []string{l.cfg.NodeID}
	}
	return l.cfg.Members()
}
