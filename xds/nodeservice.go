package xds

import (
	"context"
	"errors"
	"io"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/septum-dev/septum/xds/septumpb"
)

// What a node may report.
const (
	reportsEvery   = 200 * time.Millisecond
	reportsBurst   = 5
	maxProblems    = 4096
	maxCounters    = 65536
	maxTokenBytes  = 16 << 10
	maxCSRBytes    = 8 << 10
	authTimeout    = 10 * time.Second
	maxProblemText = 1024
)

type nodeService struct {
	septumpb.UnimplementedNodeServiceServer
	server *Server
	limits peerLimits
}

// Authenticate gives a node its certificate. It says nothing about why it refuses.
func (n *nodeService) Authenticate(ctx context.Context, request *septumpb.AuthenticateRequest) (*septumpb.AuthenticateResponse, error) {
	config := n.server.config
	if len(request.GetToken()) > maxTokenBytes || len(request.GetCsr()) > maxCSRBytes {
		return nil, status.Error(codes.InvalidArgument, "the request is too long")
	}
	if !n.limits.allow(peerAddr(ctx)) {
		return nil, status.Error(codes.ResourceExhausted, "too many questions from this address")
	}
	ctx, cancel := context.WithTimeout(ctx, authTimeout)
	defer cancel()
	node, err := config.Authenticate(ctx, request.GetToken())
	if err != nil {
		config.Log.Error(err, "node not authenticated", "peer", peerAddr(ctx).String())
		return nil, status.Error(codes.Unauthenticated, "the token is not an enforcer's")
	}
	ca := config.CA()
	certificate, err := ca.IssueNode(node, request.GetCsr(), config.Now())
	if err != nil {
		config.Log.Error(err, "certificate not issued", "node", node)
		return nil, status.Error(codes.InvalidArgument, "the certificate request cannot be signed")
	}
	config.Log.Info("certificate issued", "node", node)
	return &septumpb.AuthenticateResponse{Certificate: certificate, Roots: ca.Bundle(), Node: node}, nil
}

// Report takes a node's reports, one after the other and not too fast.
func (n *nodeService) Report(stream septumpb.NodeService_ReportServer) error {
	node, err := nodeFrom(stream.Context())
	if err != nil {
		return err
	}
	observer := n.server.config.Observer
	ctx, session := n.server.sessions.begin(stream.Context(), node, "report", func(string) {}, observer.Silent)
	defer session.close()
	select {
	case <-n.server.published: // nobody could make anything of a report before
	case <-ctx.Done():
		return status.Error(codes.Unavailable, "nothing has been published yet")
	}
	limit := rate.NewLimiter(rate.Every(reportsEvery), reportsBurst)
	reports, failed := make(chan *septumpb.NodeReport), make(chan error, 1)
	go func() {
		for {
			report, err := stream.Recv()
			if err != nil {
				failed <- err
				return
			}
			select {
			case reports <- report:
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return status.Error(codes.Aborted, "the stream was replaced by a newer one, or the node was removed")
		case err := <-failed:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case report := <-reports:
			if err := checkReport(report); err != nil {
				return err
			}
			if err := limit.Wait(ctx); err != nil {
				return status.FromContextError(err).Err()
			}
			observer.Reported(node, report)
			if err := stream.Send(&septumpb.ReportResponse{}); err != nil {
				return err
			}
		}
	}
}

func checkReport(report *septumpb.NodeReport) error {
	if len(report.GetProblems()) > maxProblems || len(report.GetCounters()) > maxCounters {
		return status.Errorf(codes.InvalidArgument, "more than %d problems or %d counters", maxProblems, maxCounters)
	}
	for _, p := range report.GetProblems() {
		if len(p.GetEndpoint())+len(p.GetReason())+len(p.GetMessage()) > maxProblemText {
			return status.Errorf(codes.InvalidArgument, "a problem's text is longer than %d bytes", maxProblemText)
		}
	}
	return nil
}
