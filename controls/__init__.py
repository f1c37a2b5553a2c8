"""The service with an error in its code, one module per error: negative controls that the checks of faults must find.

`bench --control` deploys a copy of the service with these modules beside the provisioned one, starts a module in its
place while the control runs, and removes it afterwards. Provisioned hosts do not have this package.
"""
