package plugintest

import (
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/contract"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	wire "github.com/conclave-llm/conclave/plugins/proto"
)

// wireChecks are about what is said and not what is meant: hosts that are older or newer, messages
// that are new, answers that belong to their questions.
func (k *guardrailKit) wireChecks() []check {
	return []check{
		{"serves an older host", k.olderHost},
		{"serves a newer host", k.newerHost},
		{"answers with no body to a host that takes none", k.noBody},
		{"passes over fields that it does not know", k.newFields},
		{"answers a message that it does not know", k.newMessage},
		{"answers a sign of life", k.ping},
		{"answers each check once", k.once},
		{"answers before the deadline", k.punctual},
		{"says so to a chunk of no stream", k.orphan},
		{"passes over a cancellation of nothing", k.cancelNothing},
		{"ends a session that the host ends", k.hangUp},
	}
}

// unknownField is a field that no version has yet.
var unknownField = protowire.AppendString(protowire.AppendTag(nil, 9999, protowire.BytesType), "newer")

// session configures a fresh plugin with the message and opens a session.
func (k *guardrailKit) session(t *testing.T, c *wire.ConfigureGuardrail) grpc.BidiStreamingClient[wire.HostMessage, wire.GuardrailMessage] {
	t.Helper()
	rpc := wire.NewGuardrailClient(k.from.connect(t))
	c.Config = k.c.Config
	if _, err := rpc.Configure(short(t), c); err != nil {
		t.Fatalf("the configuration is refused: %v", err)
	}
	s, err := rpc.Session(short(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// exchange sends messages and returns as many answers by their ids.
func exchange(t *testing.T, s grpc.BidiStreamingClient[wire.HostMessage, wire.GuardrailMessage], ms ...*wire.HostMessage) map[uint64]*wire.Verdict {
	t.Helper()
	for _, m := range ms {
		if err := s.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	got := map[uint64]*wire.Verdict{}
	for range ms {
		m, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := got[m.GetId()]; twice {
			t.Errorf("message %d is answered twice", m.GetId())
		}
		got[m.GetId()] = m.GetVerdict()
	}
	return got
}

func (k *guardrailKit) message(id uint64) *wire.HostMessage {
	return &wire.HostMessage{Id: id, Kind: &wire.HostMessage_Check{Check: &wire.Check{
		Hook: wire.Hook_HOOK_BEFORE, Info: &wire.Info{Endpoint: "chat"}, Texts: []*wire.Text{{Role: "user", Text: k.c.Passes}},
	}}}
}

func wantPass(t *testing.T, v *wire.Verdict) {
	t.Helper()
	if v.GetError() != "" || v.GetAction() != wire.Action_ACTION_PASS {
		t.Errorf("got %v %q, want a pass", v.GetAction(), v.GetError())
	}
}

// olderHost is a host from before minor 5, which names no minor and sets no deadline.
func (k *guardrailKit) olderHost(t *testing.T) {
	s := k.session(t, &wire.ConfigureGuardrail{Name: "test"})
	wantPass(t, exchange(t, s, k.message(1))[1])
}

func (k *guardrailKit) newerHost(t *testing.T) {
	s := k.session(t, &wire.ConfigureGuardrail{Name: "test", HostVersion: "99.0.0", HostMinor: contract.Minor + 90})
	wantPass(t, exchange(t, s, k.message(1))[1])
}

// noBody is a host from before bodies, for which an answer with one would be an empty text.
func (k *guardrailKit) noBody(t *testing.T) {
	rpc := wire.NewGuardrailClient(k.from.connect(t))
	if _, err := rpc.Configure(short(t), &wire.ConfigureGuardrail{Name: "test", Config: k.c.Config, HostMinor: contract.MinorBodies - 1}); err != nil {
		return // it needs a newer host, and says so
	}
	s, err := rpc.Session(short(t))
	if err != nil {
		t.Fatal(err)
	}
	m := k.message(1)
	m.GetCheck().Texts[0].Text = k.c.Stops
	for _, e := range llm.Endpoints() {
		if guardrail.FormsOf(e.String(), false) == 0 {
			continue
		}
		m.GetCheck().Info.Endpoint = e.String()
		if v := exchange(t, s, m)[1]; v.GetAction() == wire.Action_ACTION_ANSWER && v.GetError() == "" && len(v.GetBody()) > 0 {
			t.Errorf("%s: an answer with a body, which such a host takes for an empty text", e)
		}
	}
}

func (k *guardrailKit) newFields(t *testing.T) {
	c := &wire.ConfigureGuardrail{Name: "test"}
	c.ProtoReflect().SetUnknown(unknownField)
	s := k.session(t, c)
	m := k.message(1)
	for _, part := range []proto.Message{m, m.GetCheck(), m.GetCheck().GetInfo(), m.GetCheck().GetTexts()[0]} {
		part.ProtoReflect().SetUnknown(unknownField)
	}
	wantPass(t, exchange(t, s, m)[1])
}

func (k *guardrailKit) newMessage(t *testing.T) {
	s := k.session(t, &wire.ConfigureGuardrail{Name: "test"})
	m := &wire.HostMessage{Id: 7}
	m.ProtoReflect().SetUnknown(unknownField)
	if v := exchange(t, s, m)[7]; v.GetError() == "" {
		t.Errorf("got %v without an error: the check would count as made", v.GetAction())
	}
	wantPass(t, exchange(t, s, k.message(8))[8])
}

func (k *guardrailKit) ping(t *testing.T) {
	s := k.session(t, &wire.ConfigureGuardrail{Name: "test"})
	wantPass(t, exchange(t, s, &wire.HostMessage{Id: 3, Kind: &wire.HostMessage_Ping{Ping: &wire.Ping{}}})[3])
}

func (k *guardrailKit) once(t *testing.T) {
	s := k.session(t, &wire.ConfigureGuardrail{Name: "test"})
	var ms []*wire.HostMessage
	for id := range uint64(100) {
		ms = append(ms, k.message(id*3+1))
	}
	got := exchange(t, s, ms...)
	for _, m := range ms {
		wantPass(t, got[m.GetId()])
	}
	ping := &wire.HostMessage{Id: 1000, Kind: &wire.HostMessage_Ping{Ping: &wire.Ping{}}}
	if got := exchange(t, s, ping); got[1000] == nil {
		t.Errorf("behind a hundred answers comes %v, want that of the ping", got)
	}
}

// punctual measures the default deadline, a second.
func (k *guardrailKit) punctual(t *testing.T) {
	s := k.session(t, &wire.ConfigureGuardrail{Name: "test"})
	exchange(t, s, k.message(1)) // what happens at the first check only does not count
	id := uint64(1)
	quick(t, "a harmless text, for which there is a second by default,", time.Second, func() {
		id++
		m := k.message(id)
		m.GetCheck().DeadlineMs = 1000
		exchange(t, s, m)
	})
}

func (k *guardrailKit) orphan(t *testing.T) {
	s := k.session(t, &wire.ConfigureGuardrail{Name: "test"})
	m := &wire.HostMessage{Id: 5, Kind: &wire.HostMessage_Chunk{Chunk: &wire.Chunk{Parts: []*wire.Part{{Channel: "a", Text: k.c.Passes}}}}}
	if v := exchange(t, s, m)[5]; v.GetError() == "" {
		t.Errorf("got %v without an error", v.GetAction())
	}
}

func (k *guardrailKit) cancelNothing(t *testing.T) {
	s := k.session(t, &wire.ConfigureGuardrail{Name: "test"})
	if err := s.Send(&wire.HostMessage{Id: 4711, Kind: &wire.HostMessage_Cancel{Cancel: &wire.Cancel{}}}); err != nil {
		t.Fatal(err)
	}
	wantPass(t, exchange(t, s, k.message(1))[1])
}

func (k *guardrailKit) hangUp(t *testing.T) {
	s := k.session(t, &wire.ConfigureGuardrail{Name: "test"})
	exchange(t, s, k.message(1))
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if m, err := s.Recv(); err == nil {
		t.Errorf("got %v behind the end", m)
	} else if status.Code(err) == codes.DeadlineExceeded {
		t.Error("the session does not end")
	}
}

// wireChecks are those of callbacks.
func (k *callbackKit) wireChecks() []check {
	return []check{
		{"serves an older host", func(t *testing.T) { k.configured(t, &wire.ConfigureCallback{Name: "test"}) }},
		{"serves a newer host", func(t *testing.T) {
			k.configured(t, &wire.ConfigureCallback{Name: "test", HostVersion: "99.0.0", HostMinor: contract.Minor + 90})
		}},
		{"passes over fields that it does not know", func(t *testing.T) {
			c := &wire.ConfigureCallback{Name: "test"}
			c.ProtoReflect().SetUnknown(unknownField)
			k.configured(t, c)
		}},
		{"acknowledges only what it was given", k.receipts},
		{"takes audit entries, or says that it does not", k.audit},
	}
}

// configured configures a fresh plugin and has it deliver a record with a new field.
func (k *callbackKit) configured(t *testing.T, c *wire.ConfigureCallback) wire.CallbackClient {
	t.Helper()
	rpc := wire.NewCallbackClient(k.from.connect(t))
	c.Config = k.c.Config
	if _, err := rpc.Configure(short(t), c); err != nil {
		t.Fatalf("the configuration is refused: %v", err)
	}
	k.next++
	r := &wire.Record{Position: k.next, RequestId: "test", Status: "success", Usage: &wire.Usage{}}
	r.ProtoReflect().SetUnknown(unknownField)
	got, err := rpc.Deliver(short(t), &wire.Batch{Records: []*wire.Record{r}})
	if err != nil || got.GetDelivered() != k.next {
		t.Errorf("delivered to %d, %v, want to %d", got.GetDelivered(), err, k.next)
	}
	return rpc
}

func (k *callbackKit) receipts(t *testing.T) {
	rpc := k.configured(t, &wire.ConfigureCallback{Name: "test"})
	batch := &wire.Batch{}
	for range 5 {
		k.next += 2 // positions have gaps
		batch.Records = append(batch.Records, &wire.Record{Position: k.next, Status: "success", Usage: &wire.Usage{}})
	}
	got, err := rpc.Deliver(short(t), batch)
	if err != nil || got.GetDelivered() != k.next {
		t.Errorf("delivered to %d, %v, want to %d", got.GetDelivered(), err, k.next)
	}
}

func (k *callbackKit) audit(t *testing.T) {
	rpc := k.configured(t, &wire.ConfigureCallback{Name: "test"})
	got, err := rpc.DeliverAudit(short(t), &wire.AuditBatch{Entries: []*wire.AuditEntry{{Number: 9, Json: []byte(`{"number":9}`)}}})
	if status.Code(err) != codes.Unimplemented && (err != nil || got.GetDelivered() != 9) {
		t.Errorf("delivered to %d, %v, want to 9, or UNIMPLEMENTED", got.GetDelivered(), err)
	}
}
