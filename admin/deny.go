package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Denial is a token to be withdrawn.
type Denial struct {
	JTI    string    `json:"jti"`
	Issuer string    `json:"issuer,omitempty"` // of any issuer when empty
	Until  time.Time `json:"until,omitzero"`   // the token's exp; for ever when zero; one that has passed takes it off again
}

// DenyResult is in how many lists it is now.
type DenyResult struct {
	Lists int `json:"lists"`
}

func (s *Server) denyToken(w http.ResponseWriter, r *http.Request) {
	if s.src.Deny == nil {
		absent(w, "jwt/deny")
		return
	}
	var d Denial
	more, err := readOne(r, &d)
	if err != nil {
		problem(w, http.StatusBadRequest, "bad-denial", `Send JSON like {"jti": "abc", "until": "2026-03-01T00:00:00Z"}: `+err.Error())
		return
	}
	if more || d.JTI == "" {
		problem(w, http.StatusBadRequest, "bad-denial", "Send one JSON object, with jti.")
		return
	}
	n, err := s.src.Deny(r.Context(), d)
	switch {
	case err != nil:
		problem(w, http.StatusBadGateway, "denial-failed", fmt.Sprintf("Withdrawn in %d lists; then: %v", n, err))
		return
	case n == 0:
		problem(w, http.StatusConflict, "no-deny-list", "No jwt filter has a deny list in Redis (deny.redis).")
		return
	}
	s.log.Info("token withdrawn through the admin API", "from", r.RemoteAddr, "jti", d.JTI, "issuer", d.Issuer, "until", d.Until)
	s.answer(w, r, http.StatusOK, DenyResult{n})
}

// AskDeny has the Lintel whose admin API is at addr withdraw a token.
func AskDeny(ctx context.Context, addr string, d Denial) (DenyResult, error) {
	var out DenyResult
	body, err := json.Marshal(d)
	if err != nil {
		return out, fmt.Errorf("admin: %w", err)
	}
	return out, talk(ctx, addr, http.MethodPost, "/jwt/deny?compact", body, &out)
}
