ipvsadm -A -t 192.0.2.10:80 -s rr
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.11:80 -m -w 1
ipvsadm -A -t 192.0.2.10:81 -s rr
ipvsadm -a -t 192.0.2.10:81 -r 198.51.100.11:81 -g -w 1
