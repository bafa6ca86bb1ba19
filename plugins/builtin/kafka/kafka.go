// Package kafka is the callback that writes finished requests to a topic of Kafka.
package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/conclave-llm/conclave/plugins/builtin/payload"
	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/sink"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// Config is the configuration.
type Config struct {
	Brokers   []string `json:"brokers"` // host:port
	Topic     string   `json:"topic"`
	Key       string   `json:"key,omitempty"`       // of a message: node (default), key, team, session
	Mechanism string   `json:"mechanism,omitempty"` // PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; default: PLAIN if there is a username
	Username  string   `json:"username,omitempty"`
	Password  string   `json:"password,omitempty"`
	TLS       bool     `json:"tls,omitempty"`
	CA        string   `json:"ca,omitempty"` // PEM of the authorities that are trusted beside the system's
	TimeoutMS int64    `json:"timeout_ms,omitempty"`
}

// Kafka writes messages whose value is the payload. Messages of one key are in order.
type Kafka struct {
	cfg    Config
	client *kgo.Client
}

// Configure implements sdk.Callback.
func (k *Kafka) Configure(_ context.Context, s sdk.CallbackSettings) (sdk.CallbackDescription, error) {
	cfg := Config{Key: "node", TimeoutMS: 10_000}
	if err := sink.ReadConfig(s.Config, &cfg); err != nil {
		return sdk.CallbackDescription{}, err
	}
	options, err := cfg.options()
	if err != nil {
		return sdk.CallbackDescription{}, err
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return sdk.CallbackDescription{}, fmt.Errorf("brokers: %w", err)
	}
	k.cfg, k.client = cfg, client
	return sdk.CallbackDescription{Version: scan.Version}, nil
}

func (c *Config) options() ([]kgo.Opt, error) {
	switch {
	case len(c.Brokers) == 0:
		return nil, errors.New("brokers: give at least one host:port")
	case c.Topic == "":
		return nil, errors.New("topic: give the name of the topic")
	case c.TimeoutMS < 1000 || c.TimeoutMS > 600_000:
		return nil, errors.New("timeout_ms: is not between 1000 and 600000")
	}
	if _, err := keyOf(c.Key, &sdk.Record{}); err != nil {
		return nil, err
	}
	timeout := time.Duration(c.TimeoutMS) * time.Millisecond
	options := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...), kgo.DefaultProduceTopic(c.Topic), kgo.ClientID("conclave"), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.AllowIdempotentProduceCancellation(), kgo.ProducerBatchCompression(kgo.GzipCompression(), kgo.NoCompression()),
		kgo.MaxBufferedRecords(2000), kgo.ProduceRequestTimeout(timeout),
	}
	if c.TLS || c.CA != "" {
		t := &tls.Config{MinVersion: tls.VersionTLS12}
		if c.CA != "" {
			pool, err := x509.SystemCertPool()
			if err != nil {
				pool = x509.NewCertPool()
			}
			if !pool.AppendCertsFromPEM([]byte(c.CA)) {
				return nil, errors.New("ca: holds no certificate in PEM")
			}
			t.RootCAs = pool
		}
		options = append(options, kgo.DialTLSConfig(t))
	}
	return c.withSASL(options)
}

func (c *Config) withSASL(options []kgo.Opt) ([]kgo.Opt, error) {
	auth := scram.Auth{User: c.Username, Pass: c.Password}
	switch mechanism := strings.ToUpper(c.Mechanism); {
	case c.Username == "" && mechanism == "":
		return options, nil
	case c.Username == "":
		return nil, errors.New("username: the mechanism needs one")
	case mechanism == "" || mechanism == "PLAIN":
		return append(options, kgo.SASL(plain.Auth{User: c.Username, Pass: c.Password}.AsMechanism())), nil
	case mechanism == "SCRAM-SHA-256":
		return append(options, kgo.SASL(auth.AsSha256Mechanism())), nil
	case mechanism == "SCRAM-SHA-512":
		return append(options, kgo.SASL(auth.AsSha512Mechanism())), nil
	}
	return nil, fmt.Errorf("mechanism: %q is not PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", c.Mechanism)
}

// keyOf is the key of a record's message.
func keyOf(what string, r *sdk.Record) (string, error) {
	switch what {
	case "node":
		return r.NodeID, nil
	case "key":
		return r.KeyID, nil
	case "team":
		return r.TeamID, nil
	case "session":
		return r.SessionID, nil
	}
	return "", fmt.Errorf("key: %q is not node, key, team or session", what)
}

// Deliver implements sdk.Callback: all are written at once, and the first that could not be
// written says how far it is done.
func (k *Kafka) Deliver(ctx context.Context, records []sdk.Record) (int, error) {
	messages := make([]*kgo.Record, len(records))
	for i := range records {
		value, err := payload.Marshal(&records[i])
		if err != nil {
			return 0, err
		}
		key, err := keyOf(k.cfg.Key, &records[i])
		if err != nil {
			return 0, err
		}
		messages[i] = &kgo.Record{
			Key: []byte(key), Value: value, Timestamp: records[i].StartedAt,
			Headers: []kgo.RecordHeader{{Key: "conclave_position", Value: fmt.Appendf(nil, "%s-%d", records[i].NodeID, records[i].Position)}},
		}
	}
	// A record's own timeout would count from its timestamp, which is when the request began.
	ctx, cancel := context.WithTimeout(ctx, time.Duration(k.cfg.TimeoutMS)*time.Millisecond)
	defer cancel()
	failed := map[*kgo.Record]error{}
	for _, res := range k.client.ProduceSync(ctx, messages...) {
		if res.Err != nil {
			failed[res.Record] = res.Err
		}
	}
	for i, m := range messages {
		if err := failed[m]; err != nil {
			return i, refusedOr(err)
		}
	}
	return len(records), nil
}

// refusedOr makes the errors that are about one message refusals.
func refusedOr(err error) error {
	if errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.InvalidRecord) || errors.Is(err, kerr.RecordListTooLarge) {
		return &sdk.CallbackRefused{Reason: err.Error()}
	}
	return fmt.Errorf("write to topic: %w", err)
}
