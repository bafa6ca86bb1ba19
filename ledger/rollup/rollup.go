// Package rollup holds what was spent as sums: cells of a minute, an hour or a day that
// agree in their names. A question about spend reads cells, never requests, so that its cost
// depends on how many keys and models there are and not on how many requests there were.
package rollup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/ledger"
)

// Dim is a name that spend can be grouped and filtered by.
type Dim uint8

// The dimensions.
const (
	Key Dim = iota
	Team
	Organization
	Project
	User
	Model
	Deployment
	Provider
	Endpoint
	Customer
	Tag
	dims
)

var dimNames = [dims]string{"key", "team", "organization", "project", "user", "model", "deployment", "provider", "endpoint", "customer", "tag"}

// String is the word for the dimension.
func (d Dim) String() string { return dimNames[d] }

// ParseDim reads the word for a dimension.
func ParseDim(name string) (Dim, error) {
	if i := slices.Index(dimNames[:], name); i >= 0 {
		return Dim(i), nil
	}
	return 0, fmt.Errorf("%q is not one of %s", name, strings.Join(dimNames[:], ", "))
}

// Level is the length of time that a cell covers.
type Level uint8

// The levels, from fine to coarse.
const (
	Minute Level = iota
	Hour
	Day
	levels
)

// Levels are all levels.
var Levels = [levels]Level{Minute, Hour, Day}

var levelNames = [levels]string{"minute", "hour", "day"}

// String is the word for the level.
func (l Level) String() string { return levelNames[l] }

// Seconds is the length of a cell.
func (l Level) Seconds() int64 { return [levels]int64{60, 3600, 24 * 3600}[l] }

// Floor is the start of the cell that a time, in Unix seconds, is in.
func (l Level) Floor(at int64) int64 { return floor(at, l.Seconds()) }

func floor(at, unit int64) int64 {
	rest := at % unit
	if rest < 0 {
		rest += unit
	}
	return at - rest
}

// A family is a set of dimensions whose cells are kept together. Customers and tags have
// their own: together with all the rest there would be as many cells as requests.
type family struct {
	dims   []Dim
	finest Level
}

var families = [...]family{
	{[]Dim{Key, Team, Organization, Project, User, Model, Deployment, Provider, Endpoint}, Minute},
	{[]Dim{Customer, Key, Team, Organization, User, Model, Provider}, Hour},
	{[]Dim{Tag, Key, Team, Organization, User, Model, Provider}, Hour},
}

// familyOf finds the family that has all of the dimensions.
func familyOf(used []Dim) (int, error) {
	for i, f := range families {
		if !slices.ContainsFunc(used, func(d Dim) bool { return !slices.Contains(f.dims, d) }) {
			return i, nil
		}
	}
	names := make([]string, len(used))
	for i, d := range used {
		names[i] = d.String()
	}
	return 0, fmt.Errorf("spend is not kept by %s together", strings.Join(names, ", "))
}

// Sums are what the requests of a cell come to.
type Sums struct {
	Requests    int64 `json:"requests,omitempty"`
	Failures    int64 `json:"failures,omitempty"`
	Cost        int64 `json:"cost,omitempty"`   // nanodollars
	Prompt      int64 `json:"prompt,omitempty"` // tokens, those of the cache included
	Completion  int64 `json:"completion,omitempty"`
	CacheRead   int64 `json:"cache_read,omitempty"`
	CacheWrite  int64 `json:"cache_write,omitempty"`
	Reasoning   int64 `json:"reasoning,omitempty"`
	Duration    int64 `json:"duration,omitempty"` // nanoseconds
	TTFT        int64 `json:"ttft,omitempty"`     // nanoseconds, of the requests that had a first token
	Streams     int64 `json:"streams,omitempty"`  // requests that TTFT sums
	CacheHits   int64 `json:"cache_hits,omitempty"`
	Unpriced    int64 `json:"unpriced,omitempty"`
	HoldCharged int64 `json:"estimated,omitempty"` // requests that were charged their hold
}

func (s *Sums) fields() [14]*int64 {
	return [...]*int64{
		&s.Requests, &s.Failures, &s.Cost, &s.Prompt, &s.Completion, &s.CacheRead, &s.CacheWrite, &s.Reasoning,
		&s.Duration, &s.TTFT, &s.Streams, &s.CacheHits, &s.Unpriced, &s.HoldCharged,
	}
}

// Add adds o to s.
func (s *Sums) Add(o *Sums) {
	from := o.fields()
	for i, to := range s.fields() {
		*to += *from[i]
	}
}

// Sub takes o from s.
func (s *Sums) Sub(o *Sums) {
	from := o.fields()
	for i, to := range s.fields() {
		*to -= *from[i]
	}
}

// Append appends the encoded sums: varints, in the order of the fields, without the zeros
// at the end.
func (s *Sums) Append(b []byte) []byte {
	all := s.fields()
	n := len(all)
	for n > 0 && *all[n-1] == 0 {
		n--
	}
	for _, v := range all[:n] {
		b = binary.AppendVarint(b, *v)
	}
	return b
}

var errDamaged = errors.New("rollup cell is damaged")

// ParseSums reads what Append wrote. Fields that a newer version has are left out.
func ParseSums(b []byte) (s Sums, err error) {
	for _, to := range s.fields() {
		if len(b) == 0 {
			break
		}
		v, n := binary.Varint(b)
		if n <= 0 {
			return Sums{}, errDamaged
		}
		*to, b = v, b[n:]
	}
	return s, nil
}

// addEncoded adds what Append wrote to s, which it may leave half done if it is damaged.
func (s *Sums) addEncoded(b []byte) error {
	for _, to := range s.fields() {
		if len(b) == 0 {
			break
		}
		v, n := binary.Varint(b)
		if n <= 0 {
			return errDamaged
		}
		*to += v
		b = b[n:]
	}
	return nil
}

// Of is what one request comes to.
func Of(r *ledger.Record) Sums {
	s := Sums{
		Requests: 1, Cost: int64(r.Cost), Prompt: r.Usage.Prompt(), Completion: r.Usage.Completion(),
		CacheRead: r.Usage.CacheRead + r.Usage.CacheReadAudio + r.Usage.CacheReadImage, CacheWrite: r.Usage.CacheWrite + r.Usage.CacheWrite1h,
		Reasoning: r.Usage.Reasoning, Duration: int64(r.Duration),
	}
	if r.Failed() {
		s.Failures = 1
	}
	if r.TTFT > 0 {
		s.TTFT, s.Streams = int64(r.TTFT), 1
	}
	if r.Flags.Has(ledger.Cached) {
		s.CacheHits = 1
	}
	if r.Flags.Has(ledger.Unpriced) {
		s.Unpriced = 1
	}
	if r.Flags.Has(ledger.HoldCharged) {
		s.HoldCharged = 1
	}
	if r.Flags.Has(ledger.Adjustment) {
		s.Requests = 0
	}
	return s
}

// Batch is the sums of some requests, by level and cell. The zero value is empty.
type Batch struct {
	cells   [levels]map[string]*Sums
	scratch []byte
}

// Add folds a request into its cells, or count of them that are alike: the durations of
// those are summed in the record already.
func (b *Batch) Add(r *ledger.Record, count int64) {
	s := Of(r)
	for _, n := range []*int64{&s.Requests, &s.Failures, &s.CacheHits, &s.Unpriced, &s.HoldCharged} {
		*n *= count
	}
	for i := range families {
		switch families[i].dims[0] {
		case Customer:
			if r.CustomerID != "" {
				b.add(i, r, r.CustomerID, &s)
			}
		case Tag:
			for t, tag := range r.Tags {
				if !slices.Contains(r.Tags[:t], tag) {
					b.add(i, r, tag, &s)
				}
			}
		default:
			b.add(i, r, r.KeyID, &s)
		}
	}
}

func (b *Batch) add(fam int, r *ledger.Record, first string, s *Sums) {
	f := &families[fam]
	seconds := floor(int64(r.Time), 1e9) / 1e9
	for l := f.finest; l < levels; l++ {
		key := append(b.scratch[:0], byte(fam))
		key = binary.BigEndian.AppendUint32(key, uint32(l.Floor(seconds)/60)) // until the year 10136
		key = appendName(key, first)
		for _, d := range f.dims[1:] {
			key = appendName(key, nameOf(r, d))
		}
		b.scratch = key
		if b.cells[l] == nil {
			b.cells[l] = make(map[string]*Sums)
		}
		if have, ok := b.cells[l][string(key)]; ok {
			have.Add(s)
		} else {
			mine := *s
			b.cells[l][string(key)] = &mine
		}
	}
}

func appendName(b []byte, name string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(name))), name...)
}

func nameOf(r *ledger.Record, d Dim) string {
	switch d {
	case Key:
		return r.KeyID
	case Team:
		return r.TeamID
	case Organization:
		return r.OrganizationID
	case Project:
		return r.ProjectID
	case User:
		return r.UserID
	case Model:
		return r.Model
	case Deployment:
		return r.DeploymentID
	case Provider:
		return r.Provider
	case Endpoint:
		return r.Endpoint
	case Customer:
		return r.CustomerID
	default: // a tag is one of many, which the caller chooses
		return ""
	}
}

// Each calls visit for each cell of the level in the order of their keys.
func (b *Batch) Each(l Level, visit func(key []byte, s *Sums) error) error {
	keys := make([]string, 0, len(b.cells[l]))
	for k := range b.cells[l] {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		if err := visit([]byte(k), b.cells[l][k]); err != nil {
			return err
		}
	}
	return nil
}

// bounds are the keys from the first to before the last cell of a family that start in the
// seconds from, to.
func bounds(fam int, from, to int64) (first, end []byte) {
	return start(fam, from), start(fam, to)
}

func start(fam int, at int64) []byte {
	return binary.BigEndian.AppendUint32([]byte{byte(fam)}, uint32(max(at, 0)/60)) // until the year 10136
}

// Expired are the ranges of keys of cells that start before the second.
func Expired(before int64) (ranges [][2][]byte) {
	for fam := range families {
		first, end := bounds(fam, 0, before)
		ranges = append(ranges, [2][]byte{first, end})
	}
	return ranges
}

// SkipTo is the key of the first cell of the family that may start at the second or later, nil
// if the cell with the key does.
func SkipTo(key []byte, since int64) []byte {
	if len(key) < headLen {
		return nil
	}
	if first := start(int(key[0]), since); string(key[:headLen]) < string(first) {
		return first
	}
	return nil
}

const headLen = 5 // of a key: family and minute

// cell is a key, taken apart.
type cell struct {
	noNames bool  // parse leaves the names out
	start   int64 // seconds
	names   [len(dimNames)][]byte
}

// parse reads the key of a cell, which it does not copy.
func (c *cell) parse(key []byte) error {
	if len(key) < headLen || int(key[0]) >= len(families) {
		return errDamaged
	}
	c.start = int64(binary.BigEndian.Uint32(key[1:])) * 60
	if c.noNames {
		return nil
	}
	rest := key[headLen:]
	for _, d := range families[key[0]].dims {
		n, size := binary.Uvarint(rest)
		if size <= 0 || n > uint64(len(rest)-size) {
			return errDamaged
		}
		c.names[d] = rest[size : size+int(n)]
		rest = rest[size+int(n):]
	}
	return nil
}
