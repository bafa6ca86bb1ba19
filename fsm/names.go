package fsm

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/fsm/money"
	"github.com/conclave-llm/conclave/fsm/overlay"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// OtherName is what spend is counted for whose name has no totals of its own.
const OtherName = money.OtherName

// names decides under which names the spend of one command is counted. Customers and tags are what requests say; each
// has totals that are kept for ever. Those with a record, and those that have totals already, always count under their
// own; new ones do until there are as many as the settings say. The rest counts under one name, so that
// the sums still agree.
type names struct {
	tx      *Tx
	stored  money.Names
	counted money.Names
	most    money.Names     // as the settings say
	own     map[string]bool // by the key of their totals: whether they count under their own
}

func (tx *Tx) names() *names {
	n := &names{tx: tx, own: map[string]bool{}}
	if f, ok := tx.get(store.Cluster, memory.NamesKey); ok {
		var err error
		if n.stored, err = money.ParseNames(f.Payload); err != nil {
			overlay.Fail(err)
		}
	}
	n.counted = n.stored
	n.most.Customers = tx.number(resource.SettingCountedCustomers, resource.DefaultCountedCustomers)
	n.most.Tags = tx.number(resource.SettingCountedTags, resource.DefaultCountedTags)
	return n
}

// number reads a setting that is one.
func (tx *Tx) number(setting string, initial int64) int64 {
	if s, _, ok := load[resource.Setting](tx, store.Settings, setting); ok {
		if n, err := strconv.ParseInt(string(bytes.TrimSpace(s.Value)), 10, 64); err == nil {
			return n
		}
	}
	return initial
}

// name gives the delta the names that it counts under.
func (n *names) name(d *SpendDelta) {
	if d.Customer != "" {
		d.Customer = n.of(resource.HolderCustomer, store.Customers, &n.counted.Customers, n.most.Customers, d.Customer)
	}
	var own []string // nil: all that the delta has
	for i, tag := range d.Tags {
		as := n.of(resource.HolderTag, store.Tags, &n.counted.Tags, n.most.Tags, tag)
		if as != tag && own == nil {
			own = slices.Clip(d.Tags[:i])
		}
		if as != tag && slices.Contains(own, as) {
			continue
		}
		if own != nil || as != tag {
			own = append(own, as)
		}
	}
	if own != nil {
		d.Tags = own
	}
}

func (n *names) of(kind string, records store.Bucket, counted *int64, most int64, name string) string {
	if name == "" || name == OtherName {
		return name
	}
	key := string(money.TotalsKey(kind, name))
	own, ok := n.own[key]
	if !ok {
		if own = n.tx.has(records, name) || n.tx.has(store.Totals, key); !own && *counted < most {
			*counted++
			own = true
		}
		n.own[key] = own
	}
	if own {
		return name
	}
	return OtherName
}

// keep stores how many there are, if there are more than before.
func (n *names) keep() {
	if n.counted != n.stored {
		n.tx.put(store.Cluster, memory.NamesKey, n.counted.Encode())
	}
}
