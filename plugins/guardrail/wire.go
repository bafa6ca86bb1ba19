package guardrail

import (
	"github.com/conclave-llm/conclave/plugins/proto"
	"github.com/conclave-llm/conclave/plugins/wiretext"
)

func headersToWire(hs []Header) []*proto.Header {
	var out []*proto.Header
	for _, h := range hs {
		out = append(out, &proto.Header{Name: wiretext.Valid(h.Name), Value: wiretext.Valid(h.Value)})
	}
	return out
}

func headersFromWire(hs []*proto.Header) []Header {
	var out []Header
	for _, h := range hs {
		out = append(out, Header{Name: h.GetName(), Value: h.GetValue()})
	}
	return out
}

// textsToWire also says how many bytes they take, about.
func textsToWire(ts []Text) (wire []*proto.Text, size int) {
	if len(ts) == 0 {
		return nil, 0
	}
	slab := make([]proto.Text, len(ts))
	wire = make([]*proto.Text, len(ts))
	for i, t := range ts {
		slab[i].Path, slab[i].Role, slab[i].Text = t.Path, t.Role, t.Text
		wire[i] = &slab[i]
		size += len(t.Text) + len(t.Path) + 32
	}
	return wire, size
}

func textsFromWire(ts []*proto.Text) []Text {
	if len(ts) == 0 {
		return nil
	}
	out := make([]Text, len(ts))
	for i, t := range ts {
		out[i] = Text{Path: t.GetPath(), Role: t.GetRole(), Text: t.GetText()}
	}
	return out
}

func callerToWire(c *Caller) *proto.Caller {
	if c == nil {
		return nil
	}
	return &proto.Caller{
		KeyName: wiretext.Valid(c.KeyName), OrganizationId: c.OrganizationID, ProjectId: c.ProjectID, UserId: c.UserID,
		CustomerId: wiretext.Valid(c.CustomerID), SessionId: wiretext.Valid(c.SessionID), Tags: validAll(c.Tags),
	}
}

func callerFromWire(c *proto.Caller) *Caller {
	if c == nil {
		return nil
	}
	return &Caller{
		KeyName: c.GetKeyName(), OrganizationID: c.GetOrganizationId(), ProjectID: c.GetProjectId(), UserID: c.GetUserId(),
		CustomerID: c.GetCustomerId(), SessionID: c.GetSessionId(), Tags: c.GetTags(),
	}
}

func changeToWire(c *Change) *proto.Change {
	if c == nil {
		return nil
	}
	return &proto.Change{Model: wiretext.Valid(c.Model), Set: c.Set, Remove: validAll(c.Remove), Tags: validAll(c.Tags), ReplaceTags: c.ReplaceTags}
}

func changeFromWire(c *proto.Change) *Change {
	if c == nil {
		return nil
	}
	return &Change{Model: c.GetModel(), Set: c.GetSet(), Remove: c.GetRemove(), Tags: c.GetTags(), ReplaceTags: c.GetReplaceTags()}
}

func failureToWire(f *Failure) *proto.Failure {
	if f == nil {
		return nil
	}
	return &proto.Failure{Status: uint32(f.Status), Code: wiretext.Valid(f.Code), Message: wiretext.Valid(f.Message), Origin: string(f.Origin), Step: f.Step}
}

func failureFromWire(f *proto.Failure) *Failure {
	if f == nil {
		return nil
	}
	return &Failure{Status: int(f.GetStatus()), Code: f.GetCode(), Message: f.GetMessage(), Origin: Origin(f.GetOrigin()), Step: f.GetStep()}
}

func loggedToWire(r *Logged) *proto.LoggedRecord {
	if r == nil {
		return nil
	}
	return &proto.LoggedRecord{
		RequestId: wiretext.Valid(r.RequestID), Endpoint: r.Endpoint, Model: wiretext.Valid(r.Model), Provider: r.Provider, KeyId: r.KeyID, TeamId: r.TeamID,
		UserId: r.UserID, Status: r.Status, HttpStatus: int32(r.HTTPStatus), ErrorCode: wiretext.Valid(r.ErrorCode), CostNanoUsd: r.CostNanoUSD,
		EndUser: wiretext.Valid(r.EndUser), CustomerId: wiretext.Valid(r.CustomerID), SessionId: wiretext.Valid(r.SessionID), Tags: validAll(r.Tags), Message: wiretext.Valid(r.Message),
		Request: r.Request, Response: r.Response,
	}
}

func loggedFromWire(r *proto.LoggedRecord) *Logged {
	if r == nil {
		return nil
	}
	return &Logged{
		RequestID: r.GetRequestId(), Endpoint: r.GetEndpoint(), Model: r.GetModel(), Provider: r.GetProvider(), KeyID: r.GetKeyId(), TeamID: r.GetTeamId(),
		UserID: r.GetUserId(), Status: r.GetStatus(), HTTPStatus: int(r.GetHttpStatus()), ErrorCode: r.GetErrorCode(), CostNanoUSD: r.GetCostNanoUsd(),
		EndUser: r.GetEndUser(), CustomerID: r.GetCustomerId(), SessionID: r.GetSessionId(), Tags: r.GetTags(), Message: r.GetMessage(),
		Request: r.GetRequest(), Response: r.GetResponse(),
	}
}

func validAll(list []string) []string {
	var out []string
	for _, s := range list {
		out = append(out, wiretext.Valid(s))
	}
	return out
}
