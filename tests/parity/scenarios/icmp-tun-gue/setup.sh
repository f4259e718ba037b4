ipvsadm -A -t 192.0.2.10:80 -s rr
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.11:80 -i --tun-type gue --tun-port 6080 --tun-csum
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.12:80 -i --tun-type gue --tun-port 6080
ipvsadm -A -u 192.0.2.11:6080 -s rr
ipvsadm -a -u 192.0.2.11:6080 -r 198.51.100.13:6080 -m
