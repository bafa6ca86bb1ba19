package builtin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/resource"
)

// FileConfig is the configuration of the file callback.
type FileConfig struct {
	Path  string `json:"path"`             // relative paths begin at the node's plugin folder
	MaxMB int64  `json:"max_mb,omitempty"` // size at which the file is moved aside; 0: never
	Keep  int    `json:"keep,omitempty"`   // files moved aside that are kept as PATH.1, PATH.2, …; default 5
}

// File writes one line of JSON for each finished request to a file, synced once a batch. A
// request may stand in it twice after a crash; (node, position) tells.
type File struct {
	cfg FileConfig
	f   *os.File
}

// Configure implements sdk.Callback.
func (w *File) Configure(_ context.Context, s sdk.CallbackSettings) (sdk.CallbackDescription, error) {
	cfg := FileConfig{Keep: 5}
	if err := json.Unmarshal(s.Config, &cfg, json.RejectUnknownMembers(true)); err != nil {
		return sdk.CallbackDescription{}, fmt.Errorf("read config: %w", err)
	}
	if cfg.Path == "" {
		return sdk.CallbackDescription{}, errors.New("path: give the file to write to")
	}
	if cfg.MaxMB < 0 || cfg.Keep < 1 || cfg.Keep > 1000 {
		return sdk.CallbackDescription{}, errors.New("max_mb, keep: are out of bounds")
	}
	w.cfg = cfg
	return sdk.CallbackDescription{Version: Version}, w.open()
}

// Deliver implements sdk.Callback.
func (w *File) Deliver(_ context.Context, records []sdk.Record) (int, error) {
	if err := w.ready(); err != nil {
		return 0, err
	}
	var lines bytes.Buffer
	for i := range records {
		if err := json.MarshalWrite(&lines, lineOf(&records[i])); err != nil {
			return 0, fmt.Errorf("encode record: %w", err)
		}
		lines.WriteByte('\n')
	}
	if err := w.write(lines.Bytes()); err != nil {
		return 0, err
	}
	return len(records), nil
}

// write writes whole lines and syncs them.
func (w *File) write(lines []byte) error {
	_, err := w.f.Write(lines)
	if err == nil {
		err = w.f.Sync()
	}
	if err != nil {
		_ = w.f.Close()
		w.f = nil // opened again, which ends a line that was cut
		return fmt.Errorf("write %s: %w", w.cfg.Path, err)
	}
	return nil
}

// ready opens the file if it is not open, was moved or deleted, or has grown too large.
func (w *File) ready() error {
	if w.f != nil {
		mine, err := w.f.Stat()
		if err != nil {
			return err
		}
		theirs, err := os.Stat(w.cfg.Path)
		switch {
		case err != nil || !os.SameFile(mine, theirs): // somebody rotates the file
		case w.cfg.MaxMB > 0 && mine.Size() >= w.cfg.MaxMB<<20:
			if err := w.rotate(); err != nil {
				return err
			}
		default:
			return nil
		}
		_ = w.f.Close()
		w.f = nil
	}
	return w.open()
}

func (w *File) open() error {
	f, err := os.OpenFile(w.cfg.Path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	if err := endLine(f); err != nil {
		return errors.Join(fmt.Errorf("end cut line of %s: %w", w.cfg.Path, err), f.Close())
	}
	w.f = f
	return nil
}

// endLine ends a line that a crash has cut; its record comes again.
func endLine(f *os.File) error {
	st, err := f.Stat()
	if err != nil || st.Size() == 0 || !st.Mode().IsRegular() {
		return err
	}
	var last [1]byte
	if _, err := f.ReadAt(last[:], st.Size()-1); err != nil {
		return err
	}
	if last[0] == '\n' {
		return nil
	}
	_, err = f.Write([]byte{'\n'})
	return err
}

// rotate moves PATH to PATH.1, PATH.1 to PATH.2 and so on; the oldest falls out.
func (w *File) rotate() error {
	name := func(i int) string {
		if i == 0 {
			return w.cfg.Path
		}
		return fmt.Sprintf("%s.%d", w.cfg.Path, i)
	}
	for i := w.cfg.Keep - 1; i >= 0; i-- {
		if err := os.Rename(name(i), name(i+1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("rotate: %w", err)
		}
	}
	return nil
}

// line is the standard record as a line of JSON.
type line struct {
	Node          string          `json:"node"`
	Position      uint64          `json:"position"`
	RequestID     string          `json:"request_id"`
	StartedAt     time.Time       `json:"started_at"`
	DurationMS    float64         `json:"duration_ms"`
	FirstTokenMS  float64         `json:"first_token_ms,omitzero"`
	Endpoint      string          `json:"endpoint"`
	Model         string          `json:"model"`
	DeploymentID  string          `json:"deployment_id,omitzero"`
	Provider      string          `json:"provider,omitzero"`
	UpstreamModel string          `json:"upstream_model,omitzero"`
	KeyID         string          `json:"key_id,omitzero"`
	TeamID        string          `json:"team_id,omitzero"`
	UserID        string          `json:"user_id,omitzero"`
	EndUser       string          `json:"end_user,omitzero"`
	Tags          []string        `json:"tags,omitempty"`
	Stream        bool            `json:"stream"`
	Status        string          `json:"status"`
	HTTPStatus    int             `json:"http_status"`
	ErrorCode     string          `json:"error_code,omitzero"`
	Attempts      int             `json:"attempts"`
	Usage         lineUsage       `json:"usage"`
	CostUSD       *resource.Money `json:"cost_usd"` // null: unknown
	Guardrails    []lineGuardrail `json:"guardrails,omitempty"`
}

type lineUsage struct {
	Input      int64  `json:"input"`
	CacheRead  int64  `json:"cache_read"`
	CacheWrite int64  `json:"cache_write"`
	Output     int64  `json:"output"`
	Reasoning  int64  `json:"reasoning"`
	Source     string `json:"source"`
}

type lineGuardrail struct {
	Guardrail string `json:"guardrail"`
	Hook      string `json:"hook"`
	Status    string `json:"status"`
	Found     string `json:"found,omitempty"`
}

func lineOf(r *sdk.Record) line {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	l := line{
		Node: r.NodeID, Position: r.Position, RequestID: r.RequestID, StartedAt: r.StartedAt.UTC(),
		DurationMS: ms(r.Duration), FirstTokenMS: ms(r.FirstToken), Endpoint: r.Endpoint, Model: r.Model,
		DeploymentID: r.DeploymentID, Provider: r.Provider, UpstreamModel: r.UpstreamModel, KeyID: r.KeyID,
		TeamID: r.TeamID, UserID: r.UserID, EndUser: r.EndUser, Tags: r.Tags, Stream: r.Stream,
		Status: r.Status, HTTPStatus: r.HTTPStatus, ErrorCode: r.ErrorCode, Attempts: r.Attempts,
		Usage: lineUsage{
			Input: r.Usage.Input, CacheRead: r.Usage.CacheRead, CacheWrite: r.Usage.CacheWrite,
			Output: r.Usage.Output, Reasoning: r.Usage.Reasoning, Source: r.Usage.Source.String(),
		},
	}
	if r.Priced {
		cost := resource.Money(r.CostNanoUSD)
		l.CostUSD = &cost
	}
	for _, g := range r.Guardrails {
		l.Guardrails = append(l.Guardrails, lineGuardrail(g))
	}
	return l
}
