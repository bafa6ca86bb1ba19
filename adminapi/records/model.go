package records

import (
	"fmt"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func (rs *Records) modelNoun() *Noun[resource.Model, *resource.Model] {
	return &Noun[resource.Model, *resource.Model]{
		rs: rs, kind: "model", prefix: "model",
		all:    func(Query) []*resource.Model { return rs.cfg.State.Catalog().Tables().Models },
		find:   rs.findModel,
		put:    rs.putModel,
		remove: func(id string) fsm.Command { return fsm.DeleteModel{ID: id} },
		hidden: []string{"deployments"},
		begin:  rs.beginModel,
	}
}

func (rs *Records) findModel(ref string) (*resource.Model, bool) {
	if m, ok := rs.cfg.State.Catalog().ModelByID(ref); ok {
		return m, true
	}
	return rs.cfg.State.Catalog().Model(ref)
}

// PutModel makes the command that writes a model; read is the version that was read, 0 for
// none, and shared the budget that its budget_id names, nil for none.
func PutModel(next *resource.Model, read uint64, shared *resource.Budget, now time.Time) (fsm.Command, error) {
	windows, err := windowsOf(next, shared, now)
	if err != nil {
		return nil, err
	}
	e, err := encoded(next)
	return fsm.PutModel{Model: e, Read: read, Windows: windows}, err
}

func (rs *Records) putModel(next *resource.Model, read uint64) (fsm.Command, error) {
	shared, err := rs.sharedBudget(next)
	if err != nil {
		return nil, err
	}
	return PutModel(next, read, shared, rs.cfg.Now())
}

// beginModel takes the first deployments out of the document: a model and its deployments
// are created in one entry, so that nobody sees a model that nothing serves.
func (rs *Records) beginModel(by Caller, doc Document) (first[*resource.Model], error) {
	var docs []Document
	if err := doc.Take("deployments", &docs); err != nil {
		return first[*resource.Model]{}, err
	}
	return first[*resource.Model]{complete: func(m *resource.Model) ([]fsm.Command, error) {
		var cmds []fsm.Command
		for i, d := range docs {
			cmd, err := rs.firstDeployment(by, m, d)
			if err != nil {
				return nil, Within(fmt.Sprintf("deployments[%d]", i), err)
			}
			cmds = append(cmds, cmd)
		}
		return cmds, nil
	}}, nil
}

// firstDeployment makes the command for a deployment of a model that is not stored yet.
func (rs *Records) firstDeployment(by Caller, m *resource.Model, doc Document) (fsm.Command, error) {
	delete(doc, "version")
	d, err := rs.Deployments.draft(by, doc, nil)
	if err != nil {
		return nil, err
	}
	d.ModelID = m.ID
	if err := rs.checkUpstream(nil, d); err != nil {
		return nil, err
	}
	if err := CheckFiles(d, rs.cfg.Files); err != nil {
		return nil, err
	}
	d.Canonicalize()
	if err := rs.CheckIncreases(by, nil, d); err != nil {
		return nil, err
	}
	if err := d.Validate(); err != nil {
		return nil, err
	}
	return rs.putDeployment(d, 0)
}
