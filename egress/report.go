package egress

import (
	"cmp"
	"slices"
	"time"
)

// maxSeen bounds how many addresses are told apart; what is dialled beyond counts under "".
const maxSeen = 4096

// Seen is what was dialled of an address since the node started.
type Seen struct {
	Address string    `json:"address"`        // host:port in lower case
	Via     string    `json:"via,omitempty"`  // the proxy that was asked last
	Peer    bool      `json:"peer,omitempty"` // another node of the cluster
	By      string    `json:"by,omitempty"`   // what else of the process dialled it: "key service"
	Opened  int64     `json:"opened"`
	Failed  int64     `json:"failed"`
	Refused int64     `json:"refused"` // by sealed mode
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
}

// Report is what a node may dial, and what it did.
type Report struct {
	Sealed  bool          `json:"sealed"`
	Allowed []Destination `json:"allowed"`
	Seen    []Seen        `json:"seen"`
}

// note counts a dial.
func (d *Dialer) note(s Seen, result string) {
	d.total.WithLabelValues(result).Inc()
	now := d.cfg.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	have := d.seen[s.Address]
	if have == nil && len(d.seen) >= maxSeen {
		s.Address = ""
		have = d.seen[""]
	}
	if have == nil {
		have = &Seen{Address: s.Address, First: now}
		d.seen[s.Address] = have
	}
	have.Last, have.Peer = now, have.Peer || s.Peer
	have.Via = cmp.Or(s.Via, have.Via)
	switch result {
	case "opened":
		have.Opened++
	case "failed":
		have.Failed++
	case "refused":
		have.Refused++
	}
}

// Report returns what may be dialled, and what was, by address.
func (d *Dialer) Report() Report {
	r := Report{Sealed: d.Sealed(), Allowed: d.allowed().list}
	d.mu.Lock()
	for _, s := range d.seen {
		r.Seen = append(r.Seen, *s)
	}
	d.mu.Unlock()
	if beside := d.cfg.Beside; beside != nil {
		for _, s := range beside.Report().Seen {
			s.By = d.cfg.BesideName
			r.Seen = append(r.Seen, s)
		}
	}
	slices.SortFunc(r.Seen, func(a, b Seen) int { return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.By, b.By)) })
	return r
}
