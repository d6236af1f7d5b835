/* Starts the action proxy with the working directory as the place of everything that is unpacked. */
"use strict";

process.env.TMPDIR = process.cwd();
require("/proxies/nodejs.js");
