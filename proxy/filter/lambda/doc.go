// Package lambda is the lambda_authorizer filter: it has an AWS Lambda function
// decide by the contract of API Gateway's Lambda authorizers, so that functions
// written for those go on to serve.
package lambda
