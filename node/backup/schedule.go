package backup

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/node/backup/shelf"
	"github.com/conclave-llm/conclave/resource"
)

const (
	lookEvery = 15 * time.Second
	retry     = time.Minute     // after a backup that failed
	takeLimit = 2 * time.Hour   // of one backup and its upload
	listLimit = 5 * time.Minute // of looking at the shelf
)

type metrics struct {
	made  *prometheus.CounterVec // by result
	last  prometheus.Gauge
	bytes prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) metrics {
	m := metrics{
		made: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "conclave_backups_total", Help: "Scheduled snapshots that this node made as leader, by what came of it: kept or failed.",
		}, []string{"result"}),
		last: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "conclave_backup_last_success_timestamp_seconds", Help: "When the newest snapshot that this leader knows of was made; 0: none is known.",
		}),
		bytes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "conclave_backup_bytes", Help: "Size of the last snapshot that this node made by schedule.",
		}),
	}
	for _, r := range []string{"kept", "failed"} {
		m.made.WithLabelValues(r)
	}
	if reg != nil {
		reg.MustRegister(m.made, m.last, m.bytes)
	}
	return m
}

// failure is what is wrong with scheduled backups.
type failure struct {
	since time.Time
	err   error
}

// Warning says what is wrong with scheduled backups on this leader, "" if nothing is.
func (b *Backups) Warning() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failing == nil {
		return ""
	}
	return fmt.Sprintf("scheduled snapshots fail since %s: %v", b.failing.since.UTC().Format(time.RFC3339), b.failing.err)
}

// Run makes backups by schedule while this node leads, until ctx ends.
func (b *Backups) Run(ctx context.Context) {
	look := b.cfg.Look
	if look == nil {
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		look = tick.C
	}
	s := &schedule{of: b}
	for {
		select {
		case <-ctx.Done():
			return
		case <-look:
			s.look(ctx)
		}
	}
}

// schedule is what a leader remembers between two looks.
type schedule struct {
	of    *Backups
	known bool      // last is what the shelf says
	last  time.Time // when the newest backup was made
	next  time.Time // no try before
	where resource.SnapshotSettings
}

// look makes a backup if one is due.
func (s *schedule) look(ctx context.Context) {
	b := s.of
	set := b.cfg.Settings()
	if !b.cfg.Cluster.IsLeader() || set.Every == 0 {
		*s = schedule{of: b}
		b.settle(nil)
		return
	}
	if !same(set, s.where) {
		*s = schedule{of: b, where: set}
	}
	now := b.cfg.Now()
	if now.Before(s.next) {
		return
	}
	if err := s.due(ctx, set, now); err != nil && ctx.Err() == nil {
		s.next = now.Add(min(retry, set.Every))
		b.metrics.made.WithLabelValues("failed").Inc()
		b.cfg.Logger.Error("a scheduled snapshot failed", "error", err)
		b.settle(err)
	}
}

// same says that backups are kept where they were.
func same(a, b resource.SnapshotSettings) bool {
	if (a.S3 == nil) != (b.S3 == nil) || a.S3 != nil && *a.S3 != *b.S3 {
		return false
	}
	return a.Every == b.Every && a.Keep == b.Keep && a.Dir == b.Dir
}

// due makes a backup if the newest is old enough, and drops those that are too many.
func (s *schedule) due(ctx context.Context, set resource.SnapshotSettings, now time.Time) error {
	b := s.of
	if !s.known {
		items, err := b.own(ctx)
		if err != nil {
			return err
		}
		if len(items) > 0 {
			s.last = items[0].TakenAt
		}
		s.known = true
		b.metrics.last.Set(seconds(s.last))
	}
	if now.Sub(s.last) < set.Every {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, takeLimit)
	defer cancel()
	e, err := b.Take(ctx)
	if err != nil {
		return err
	}
	s.last = now
	b.metrics.made.WithLabelValues("kept").Inc()
	b.metrics.last.Set(seconds(now))
	b.metrics.bytes.Set(float64(e.Size))
	if err := b.prune(ctx, set.Keep); err != nil {
		return err
	}
	b.settle(nil)
	return nil
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.Unix())
}

// settle keeps what is wrong, from when on.
func (b *Backups) settle(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case err == nil:
		b.failing = nil
	case b.failing == nil:
		b.failing = &failure{b.cfg.Now(), err}
	default:
		b.failing.err = err
	}
}

// own lists the backups of this cluster on the shelf, the newest first.
func (b *Backups) own(ctx context.Context) ([]shelf.Item, error) {
	ctx, cancel := context.WithTimeout(ctx, listLimit)
	defer cancel()
	s, err := b.shelf()
	if err != nil {
		return nil, err
	}
	all, err := s.List(ctx)
	if err != nil {
		return nil, err
	}
	info, _ := b.cfg.State.Cluster()
	out := all[:0]
	for _, i := range all {
		if i.ClusterID == info.ClusterID {
			out = append(out, i)
		}
	}
	shelf.Sort(out)
	return out, nil
}

// prune deletes all but the newest backups of this cluster.
func (b *Backups) prune(ctx context.Context, keep int) error {
	items, err := b.own(ctx)
	if err != nil {
		return err
	}
	s, err := b.shelf()
	if err != nil {
		return err
	}
	for _, i := range items[min(keep, len(items)):] {
		if err := s.Delete(ctx, i.Name); err != nil {
			return err
		}
		b.cfg.Logger.Info("deleted an old snapshot", "name", i.Name)
	}
	return nil
}
