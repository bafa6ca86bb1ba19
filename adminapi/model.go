package adminapi

import (
	"context"
	"fmt"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func (s *Server) modelNoun() *noun[resource.Model, *resource.Model] {
	return &noun[resource.Model, *resource.Model]{
		s: s, kind: "model", prefix: "model",
		all:    func(listQuery) []*resource.Model { return s.cfg.State.Catalog().Tables().Models },
		find:   s.findModel,
		put:    putModel,
		remove: func(id string) fsm.Command { return fsm.DeleteModel{ID: id} },
		hidden: []string{"deployments"},
		begin:  s.beginModel,
	}
}

func (s *Server) findModel(ref string) (*resource.Model, bool) {
	if m, ok := s.cfg.State.Catalog().ModelByID(ref); ok {
		return m, true
	}
	return s.cfg.State.Catalog().Model(ref)
}

func putModel(next *resource.Model, read uint64) (fsm.Command, error) {
	e, err := encoded(next)
	return fsm.PutModel{Model: e, Read: read}, err
}

// beginModel takes the first deployments out of the document: a model and its deployments
// are created in one entry, so that nobody sees a model that nothing serves.
func (s *Server) beginModel(ctx context.Context, doc document) (func(*resource.Model) ([]fsm.Command, error), error) {
	var docs []document
	if err := doc.take("deployments", &docs); err != nil {
		return nil, err
	}
	return func(m *resource.Model) ([]fsm.Command, error) {
		var cmds []fsm.Command
		for i, d := range docs {
			cmd, err := s.firstDeployment(ctx, m, d)
			if err != nil {
				return nil, within(fmt.Sprintf("deployments[%d]", i), err)
			}
			cmds = append(cmds, cmd)
		}
		return cmds, nil
	}, nil
}

// firstDeployment makes the command for a deployment of a model that is not stored yet.
func (s *Server) firstDeployment(ctx context.Context, m *resource.Model, doc document) (fsm.Command, error) {
	delete(doc, "version")
	d, err := s.deployments.draft(ctx, doc, nil)
	if err != nil {
		return nil, err
	}
	d.ModelID = m.ID
	if err := s.checkUpstream(nil, d); err != nil {
		return nil, err
	}
	d.Canonicalize()
	if err := d.Validate(); err != nil {
		return nil, err
	}
	return putDeployment(d, 0)
}

func (s *Server) modelView(ctx context.Context, m *resource.Model, d detail) client.Model {
	v := client.Model{Model: *m}
	if d == alone {
		for _, dep := range s.cfg.State.Catalog().Deployments(m.ID) {
			v.Deployments = append(v.Deployments, deploymentView(ctx, dep, inList))
		}
	}
	return v
}
