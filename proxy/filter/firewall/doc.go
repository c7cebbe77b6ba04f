// Package firewall is the header firewall: it takes a client's copy of every
// reserved identity header off a request, whatever its disguise, and token
// headers off answers.
//
// Applications behind CGI, WSGI, Rack or PHP see X-User-Id, X_User.Id and
// x-user_id as one variable, so names are compared as words: letters and digits
// without case, anything else between them alike.
package firewall
