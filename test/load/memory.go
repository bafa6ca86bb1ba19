package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	sealRound = 5_000           // requests between two looks at whether the log is sealed
	sealLimit = 5 * time.Minute // for filling the log and its sealing
)

// runMemory measures only what the node and its plugins take.
func runMemory(ctx context.Context, o options, w io.Writer) error {
	rig, err := startRig(ctx, o)
	if err != nil {
		return err
	}
	defer rig.stop()
	idle := rig.node.rss()
	if _, err := (load{body: chatBody("demo", false), rate: o.rate, length: o.open}).drive(ctx, rig.node); err != nil {
		return err
	}
	return rig.reportMemory(ctx, idle, w)
}

// reportMemory writes what the node takes, with the sealing of its request log, and what its
// plugins take.
func (r *rig) reportMemory(ctx context.Context, idle int64, w io.Writer) error {
	before := r.node.peakRSS()
	rows, errs, err := r.driveUntilSealed(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "\nnode RSS: idle %s, under load %s (peak), under load while it seals %d rows of its request log %s (peak), %d errors\n",
		mib(idle), mib(before), rows, mib(r.node.peakRSS()), errs)
	return r.reportPlugins(ctx, w)
}

// driveUntilSealed sends requests until the node has so many rows that it seals some of them.
func (r *rig) driveUntilSealed(ctx context.Context) (rows, errs int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, sealLimit)
	defer cancel()
	for rows == 0 {
		res, err := load{body: chatBody("demo", false), count: sealRound, conns: 16}.drive(ctx, r.node)
		if err != nil {
			return 0, 0, fmt.Errorf("until the request log is sealed: %w", err)
		}
		errs += res.errors
		if rows, err = r.metric(ctx, "conclave_requestlog_sealed_rows_total"); err != nil {
			return 0, 0, err
		}
	}
	return rows, errs, nil
}

// metric reads a whole number of the node's metrics.
func (r *rig) metric(ctx context.Context, name string) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.node.base+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+masterKey)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = res.Body.Close() }()
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if v, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			f, err := strconv.ParseFloat(v, 64)
			return int64(f), err
		}
	}
	return 0, fmt.Errorf("the node has no metric %s (status %d)", name, res.StatusCode)
}
